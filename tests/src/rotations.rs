//! Rotations, done as `cardinal rotate` does them: over the admin socket, with the root's token opened on this side.

use api::Page;
use api::rotation::{PeopleRequest, RotationPlan, RotationRequest, RotationView};
use server::rotation::PresentRoot;

use crate::deployment::Site;
use crate::{Ask, Deployment, Reply};

/// The two people of the tests.
pub const PEOPLE: [&str; 2] = ["Ada First", "Grace Second"];

/// What asks for a rotation by two people.
pub fn request(kind: &str, target: Option<&str>, overlap: Option<&str>) -> RotationRequest {
    RotationRequest {
        kind: kind.to_owned(),
        target: target.map(str::to_owned),
        people: PEOPLE.map(str::to_owned).to_vec(),
        overlap: overlap.map(str::to_owned),
    }
}

impl Site {
    /// The root's token, opened as the command does it.
    ///
    /// # Panics
    /// When it does not open.
    pub async fn present_root(&self) -> PresentRoot {
        let config = self.config.clone();
        let opened = tokio::task::spawn_blocking(move || PresentRoot::open(&config)).await;
        opened.expect("a thread").expect("the root's token is present")
    }
}

impl Deployment {
    /// The plan of a rotation.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn rotation_plan(&self, request: &RotationRequest) -> RotationPlan {
        self.admin().send(Ask::post("/rotations/plan").json(request)).await.expect(200).read()
    }

    /// Begins a rotation.
    pub async fn try_rotate(&self, request: &RotationRequest) -> Reply {
        self.admin().send(Ask::post("/rotations").json(request)).await
    }

    /// Hands in what the root's token did.
    ///
    /// # Panics
    /// When the root's token does not do it.
    pub async fn try_root_work(&self, view: &RotationView) -> Reply {
        let root = self.present_root().await;
        let work = view.root_work.clone().expect("work for the root's token");
        let ceremony = tokio::task::spawn_blocking(move || root.perform(&work)).await.expect("a thread");
        let done = ceremony.expect("the root's token does it").done;
        self.admin().send(Ask::post(format!("/rotations/{}/root-work", view.id)).json(&done)).await
    }

    /// Does for a rotation what the root's token is asked for, until nothing is asked any more.
    ///
    /// # Panics
    /// When that fails.
    pub async fn with_root(&self, mut view: RotationView) -> RotationView {
        while view.root_work.is_some() {
            view = self.try_root_work(&view).await.expect(200).read();
        }
        view
    }

    /// A rotation, as far as it goes by itself.
    ///
    /// # Panics
    /// When it is refused, or fails.
    pub async fn rotate(&self, kind: &str, target: Option<&str>, overlap: Option<&str>) -> RotationView {
        let begun = self.try_rotate(&request(kind, target, overlap)).await.expect(201).read();
        self.with_root(begun).await
    }

    /// Takes up a rotation, by one person.
    pub async fn try_resume(&self, id: &str) -> Reply {
        let people = PeopleRequest { people: vec![PEOPLE[0].to_owned()] };
        self.admin().send(Ask::post(format!("/rotations/{id}/resume")).json(&people)).await
    }

    /// Gives a rotation up, by one person.
    pub async fn try_back_out(&self, id: &str) -> Reply {
        let people = PeopleRequest { people: vec![PEOPLE[1].to_owned()] };
        self.admin().send(Ask::post(format!("/rotations/{id}/back-out")).json(&people)).await
    }

    /// All rotations.
    ///
    /// # Panics
    /// When they cannot be read.
    pub async fn rotations(&self) -> Vec<RotationView> {
        let page: Page<RotationView> = self.admin().send(Ask::get("/rotations")).await.expect(200).read();
        page.items
    }

    /// The state of an issuer, as `cardinal status` shows it.
    ///
    /// # Panics
    /// When there is none.
    pub async fn issuer_state(&self, id: &str) -> String {
        let status = self.status().await;
        status.issuers.into_iter().find(|issuer| issuer.id == id).expect("an issuer").state
    }
}

/// Takes the private half of a key away, by OpenSC's `pkcs11-tool`.
///
/// # Panics
/// When that fails.
pub fn lose_private_key(module: &std::path::Path, token: &config::Token, label: &str) {
    let pin = std::fs::read_to_string(&token.pin_file).expect("a PIN file");
    let id: String = label.bytes().map(|octet| format!("{octet:02x}")).collect();
    let output = std::process::Command::new("pkcs11-tool")
        .arg("--module")
        .arg(module)
        .args(["--token-label", &token.label, "--login", "--pin", pin.trim()])
        .args(["--delete-object", "--type", "privkey", "--id", &id])
        .output()
        .expect("pkcs11-tool (opensc) is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
