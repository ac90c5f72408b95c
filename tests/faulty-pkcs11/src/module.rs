//! The module itself: a copy of the real module's function list, in which some functions are ours.

use std::ffi::c_void;
use std::fs::OpenOptions;
use std::io::Write;
use std::sync::{Mutex, OnceLock, PoisonError, RwLock};
use std::thread;
use std::time::Duration;

use cryptoki_sys::*;
use libloading::Library;

use crate::plan::{Decision, Manner, Plan};

const REAL: &str = "/usr/lib/softhsm/libsofthsm2.so";

static PLAN: Mutex<Option<Plan>> = Mutex::new(None);
static LISTS: OnceLock<Option<Lists>> = OnceLock::new();

/// Held for reading while the real module works. SoftHSM frees a session that is closed even while another thread is
/// inside it, so all sessions are closed only when nobody is.
static CALLS: RwLock<()> = RwLock::new(());

struct Lists {
    real: CK_FUNCTION_LIST,
    ours: CK_FUNCTION_LIST,
}

/// Gives the list of functions (PKCS#11 v2.40, 5.4). C_GetInterface is missing on purpose: callers take this way then.
///
/// # Safety
/// As the standard has it: `list` points to where a pointer may be written.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn C_GetFunctionList(list: *mut *mut CK_FUNCTION_LIST) -> CK_RV {
    let Some(lists) = LISTS.get_or_init(load) else { return CKR_LIBRARY_LOAD_FAILED };
    // SAFETY: by this function's contract; callers only read through the pointer, as the standard asks of them.
    unsafe { *list = (&raw const lists.ours).cast_mut() };
    CKR_OK
}

fn load() -> Option<Lists> {
    let path = std::env::var("FAULTY_PKCS11_REAL").unwrap_or_else(|_| REAL.into());
    let mut list: *mut CK_FUNCTION_LIST = std::ptr::null_mut();
    // SAFETY: loading a PKCS#11 library runs its initialisers, and C_GetFunctionList has this signature by the standard.
    // The library is leaked, so that the functions in the list stay where they are.
    let real = unsafe {
        let library: &'static Library = Box::leak(Box::new(Library::new(path).ok()?));
        let get_list =
            library.get::<unsafe extern "C" fn(*mut *mut CK_FUNCTION_LIST) -> CK_RV>(c"C_GetFunctionList").ok()?;
        if get_list(&raw mut list) != CKR_OK || list.is_null() {
            return None;
        }
        *list
    };
    let ours = CK_FUNCTION_LIST {
        C_GetFunctionList: Some(C_GetFunctionList),
        C_GetSlotList: Some(C_GetSlotList),
        C_GetTokenInfo: Some(C_GetTokenInfo),
        C_InitToken: Some(C_InitToken),
        C_InitPIN: Some(C_InitPIN),
        C_SetPIN: Some(C_SetPIN),
        C_OpenSession: Some(C_OpenSession),
        C_Login: Some(C_Login),
        C_Logout: Some(C_Logout),
        C_CreateObject: Some(C_CreateObject),
        C_DestroyObject: Some(C_DestroyObject),
        C_FindObjectsInit: Some(C_FindObjectsInit),
        C_FindObjects: Some(C_FindObjects),
        C_FindObjectsFinal: Some(C_FindObjectsFinal),
        C_GetAttributeValue: Some(C_GetAttributeValue),
        C_SetAttributeValue: Some(C_SetAttributeValue),
        C_GenerateRandom: Some(C_GenerateRandom),
        C_GetSessionInfo: Some(C_GetSessionInfo),
        C_CloseSession: Some(C_CloseSession),
        C_SignInit: Some(C_SignInit),
        C_Sign: Some(C_Sign),
        C_GenerateKeyPair: Some(C_GenerateKeyPair),
        ..real
    };
    Some(Lists { real, ours })
}

fn real() -> Option<&'static CK_FUNCTION_LIST> {
    LISTS.get().and_then(Option::as_ref).map(|lists| &lists.real)
}

/// Asks the plan, and notes the answer in the log.
fn decide(function: &str) -> Decision {
    let (decision, words) = {
        let mut plan = PLAN.lock().unwrap_or_else(PoisonError::into_inner);
        let plan = plan.get_or_insert_default();
        plan.update(&plan_text());
        plan.decide(function)
    };
    if let Ok(path) = std::env::var("FAULTY_PKCS11_LOG")
        && let Ok(mut log) = OpenOptions::new().append(true).create(true).open(path)
    {
        // In one write, so that lines of several threads do not mix. A log that cannot be written is missed by the test.
        let _ = log.write_all(format!("{function} {words}\n").as_bytes());
    }
    decision
}

fn plan_text() -> String {
    std::env::var("FAULTY_PKCS11_PLAN").ok().and_then(|path| std::fs::read_to_string(path).ok()).unwrap_or_default()
}

/// Carries out what the plan decides for one call; faults that belong to one function only are passed to `special`.
fn intercept(function: &str, at: At, call: impl Fn() -> CK_RV, special: impl FnOnce(Decision) -> CK_RV) -> CK_RV {
    let call = || {
        let _reading = CALLS.read().unwrap_or_else(PoisonError::into_inner);
        call()
    };
    match decide(function) {
        Decision::Pass => call(),
        Decision::Fail(code, manner) => {
            match manner {
                Manner::Instead => {}
                Manner::After => drop(call()),
                Manner::Logout => at.logout(),
                Manner::CloseSessions => at.close_sessions(),
            }
            code
        }
        Decision::Block => {
            let plan = plan_text();
            while plan_text() == plan {
                thread::sleep(Duration::from_millis(2));
            }
            call()
        }
        Decision::Delay(milliseconds) => {
            thread::sleep(Duration::from_millis(milliseconds));
            call()
        }
        decision => special(decision),
    }
}

/// Where a call is made: in a session, or in a slot.
#[derive(Clone, Copy)]
enum At {
    Session(CK_SESSION_HANDLE),
    Slot(CK_SLOT_ID),
    Module,
}

impl At {
    fn logout(self) {
        if let (At::Session(session), Some(logout)) = (self, real().and_then(|real| real.C_Logout)) {
            // SAFETY: a session handle is a number that the module checks.
            unsafe { logout(session) };
        }
    }

    fn close_sessions(self) {
        let slot = match self {
            At::Slot(slot) => slot,
            At::Module => return,
            At::Session(session) => {
                let mut info = CK_SESSION_INFO::default();
                let Some(get_info) = real().and_then(|real| real.C_GetSessionInfo) else { return };
                // SAFETY: `info` is a CK_SESSION_INFO to be filled in.
                if unsafe { get_info(session, &raw mut info) } != CKR_OK {
                    return;
                }
                info.slotID
            }
        };
        let _alone = CALLS.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(close_all) = real().and_then(|real| real.C_CloseAllSessions) {
            // SAFETY: a slot's id is a number that the module checks.
            unsafe { close_all(slot) };
        }
    }
}

/// A function that only fails, or not.
macro_rules! wrapped {
    ($($name:ident($at:expr; $($argument:ident: $type:ty),*);)*) => {$(
        #[allow(non_snake_case, clippy::too_many_arguments)]
        unsafe extern "C" fn $name($($argument: $type),*) -> CK_RV {
            let Some(function) = real().and_then(|real| real.$name) else { return CKR_FUNCTION_NOT_SUPPORTED };
            // SAFETY: the arguments are the caller's, who keeps the standard's rules for this very function.
            let call = || unsafe { function($($argument),*) };
            intercept(stringify!($name), $at, call, |_| CKR_GENERAL_ERROR)
        }
    )*};
}

wrapped! {
    C_InitToken(At::Slot(slot); slot: CK_SLOT_ID, pin: *mut CK_UTF8CHAR, pin_length: CK_ULONG, label: *mut CK_UTF8CHAR);
    C_InitPIN(At::Session(session); session: CK_SESSION_HANDLE, pin: *mut CK_UTF8CHAR, pin_length: CK_ULONG);
    C_SetPIN(At::Session(session); session: CK_SESSION_HANDLE, old: *mut CK_UTF8CHAR, old_length: CK_ULONG,
        new: *mut CK_UTF8CHAR, new_length: CK_ULONG);
    C_OpenSession(At::Slot(slot); slot: CK_SLOT_ID, flags: CK_FLAGS, application: *mut c_void, notify: CK_NOTIFY,
        session: *mut CK_SESSION_HANDLE);
    C_Login(At::Session(session); session: CK_SESSION_HANDLE, user: CK_USER_TYPE, pin: *mut CK_UTF8CHAR,
        pin_length: CK_ULONG);
    C_Logout(At::Session(session); session: CK_SESSION_HANDLE);
    C_CreateObject(At::Session(session); session: CK_SESSION_HANDLE, template: *mut CK_ATTRIBUTE, count: CK_ULONG,
        object: *mut CK_OBJECT_HANDLE);
    C_DestroyObject(At::Session(session); session: CK_SESSION_HANDLE, object: CK_OBJECT_HANDLE);
    C_FindObjectsInit(At::Session(session); session: CK_SESSION_HANDLE, template: *mut CK_ATTRIBUTE, count: CK_ULONG);
    C_FindObjects(At::Session(session); session: CK_SESSION_HANDLE, objects: *mut CK_OBJECT_HANDLE, most: CK_ULONG,
        count: *mut CK_ULONG);
    C_FindObjectsFinal(At::Session(session); session: CK_SESSION_HANDLE);
    C_GetAttributeValue(At::Session(session); session: CK_SESSION_HANDLE, object: CK_OBJECT_HANDLE,
        template: *mut CK_ATTRIBUTE, count: CK_ULONG);
    C_SetAttributeValue(At::Session(session); session: CK_SESSION_HANDLE, object: CK_OBJECT_HANDLE,
        template: *mut CK_ATTRIBUTE, count: CK_ULONG);
    C_GenerateRandom(At::Session(session); session: CK_SESSION_HANDLE, random: *mut CK_BYTE, length: CK_ULONG);
    C_GetSessionInfo(At::Session(session); session: CK_SESSION_HANDLE, info: *mut CK_SESSION_INFO);
    C_CloseSession(At::Session(session); session: CK_SESSION_HANDLE);
    C_SignInit(At::Session(session); session: CK_SESSION_HANDLE, mechanism: *mut CK_MECHANISM, key: CK_OBJECT_HANDLE);
    C_Sign(At::Session(session); session: CK_SESSION_HANDLE, data: *mut CK_BYTE, data_length: CK_ULONG,
        signature: *mut CK_BYTE, signature_length: *mut CK_ULONG);
}

#[allow(non_snake_case)]
unsafe extern "C" fn C_GetSlotList(present: CK_BBOOL, slots: *mut CK_SLOT_ID, count: *mut CK_ULONG) -> CK_RV {
    let Some(function) = real().and_then(|real| real.C_GetSlotList) else { return CKR_FUNCTION_NOT_SUPPORTED };
    // SAFETY: the arguments are the caller's, who keeps the standard's rules for C_GetSlotList.
    let call = || unsafe { function(present, slots, count) };
    intercept("C_GetSlotList", At::Module, call, |_| {
        // SAFETY: the caller's `count` points to a number that this function sets.
        unsafe { *count = 0 };
        CKR_OK
    })
}

#[allow(non_snake_case)]
unsafe extern "C" fn C_GetTokenInfo(slot: CK_SLOT_ID, info: *mut CK_TOKEN_INFO) -> CK_RV {
    let Some(function) = real().and_then(|real| real.C_GetTokenInfo) else { return CKR_FUNCTION_NOT_SUPPORTED };
    // SAFETY: the arguments are the caller's, who keeps the standard's rules for C_GetTokenInfo.
    let call = || unsafe { function(slot, info) };
    intercept("C_GetTokenInfo", At::Slot(slot), call, |decision| {
        let code = call();
        if let (CKR_OK, Decision::Flags(flags)) = (code, decision) {
            // SAFETY: the real function has just filled in the caller's structure.
            unsafe { (*info).flags |= flags };
        }
        code
    })
}

#[allow(non_snake_case, clippy::too_many_arguments)]
unsafe extern "C" fn C_GenerateKeyPair(
    session: CK_SESSION_HANDLE,
    mechanism: *mut CK_MECHANISM,
    public_template: *mut CK_ATTRIBUTE,
    public_count: CK_ULONG,
    private_template: *mut CK_ATTRIBUTE,
    private_count: CK_ULONG,
    public: *mut CK_OBJECT_HANDLE,
    private: *mut CK_OBJECT_HANDLE,
) -> CK_RV {
    let Some(function) = real().and_then(|real| real.C_GenerateKeyPair) else { return CKR_FUNCTION_NOT_SUPPORTED };
    let generate = |template: *mut CK_ATTRIBUTE| {
        // SAFETY: the arguments are the caller's, who keeps the standard's rules for C_GenerateKeyPair; the template is
        // the caller's too, or the copy made below, of the same length.
        unsafe { function(session, mechanism, public_template, public_count, template, private_count, public, private) }
    };
    intercept(
        "C_GenerateKeyPair",
        At::Session(session),
        || generate(private_template),
        |_| {
            // SAFETY: by the standard the template is an array of so many attributes, each with its value.
            let mut template = unsafe { std::slice::from_raw_parts(private_template, private_count as usize) }.to_vec();
            let mut turned = [CK_TRUE];
            for attribute in template.iter_mut().filter(|attribute| attribute.type_ == CKA_EXTRACTABLE) {
                // SAFETY: CKA_EXTRACTABLE has a CK_BBOOL as its value.
                let is_set = unsafe { *attribute.pValue.cast::<CK_BBOOL>() } != CK_FALSE;
                turned[0] = if is_set { CK_FALSE } else { CK_TRUE };
                attribute.pValue = turned.as_mut_ptr().cast();
            }
            generate(template.as_mut_ptr())
        },
    )
}
