//! Signatures: by keys in the token, through the same pool as the CA's, and by `ring` in memory.

use std::sync::Arc;
use std::time::Duration;

use hsm::{Key, MemoryKey, Module, Pin, Signer, Token, TokenOptions, TokenSelector};
use pki::KeyType;
use tests::home::SOFTHSM;

use crate::cost::{Sample, Watch, repeat};
use crate::report::Report;

/// As long as the TBS of a card's certificate.
pub(crate) const MESSAGE: [u8; 700] = [0x30; 700];

/// Callers for each session: enough that a session never waits for one.
const CALLERS: usize = 4;

const LENGTH: Duration = Duration::from_secs(1);

/// A token of the bench's own, beside the CA's and in the same module.
pub(crate) struct Bench {
    module: Arc<Module>,
    selector: TokenSelector,
}

fn pin() -> Pin {
    Pin::new("2468")
}

impl Bench {
    /// Makes the token and its keys.
    pub(crate) async fn open() -> Self {
        let made = tokio::task::spawn_blocking(|| {
            let module = Module::load(SOFTHSM).expect("the module");
            let selector = module.init_token("bench", &Pin::new("1357"), &pin()).expect("a token");
            let token = Token::open(&module, &selector, pin(), TokenOptions::default()).expect("the token opens");
            token.generate_key_pair("P-256", &[1], KeyType::P256).expect("a key");
            token.generate_key_pair("RSA-2048", &[2], KeyType::Rsa2048).expect("a key");
            token.close();
            Bench { module, selector }
        });
        made.await.expect("a thread")
    }

    fn token(&self, sessions: usize) -> Arc<Token> {
        let options = TokenOptions { sessions, ..TokenOptions::default() };
        Token::open(&self.module, &self.selector, pin(), options).expect("the token opens")
    }

    async fn sign(&self, watch: &Watch, label: &str, sessions: usize, length: Duration) -> Sample {
        let token = self.token(sessions);
        let key: Key = token.find_key(label).expect("the token answers").expect("the key is there");
        let callers = (0..sessions * CALLERS).map(|_| {
            let key = key.clone();
            move || repeat(length, || drop(key.sign(&MESSAGE).expect("a signature")))
        });
        let sample = watch.threads(callers).await;
        token.close();
        sample
    }

    /// Signatures by a key of this kind right now, with as many sessions as the service has.
    pub(crate) async fn now(&self, key_type: KeyType) -> Sample {
        self.sign(&Watch::own(), &key_type.to_string(), 2, LENGTH / 2).await
    }

    /// A key of the token, and a signature by it that can be verified.
    pub(crate) fn signed(&self, key_type: KeyType) -> (Key, Vec<u8>) {
        let token = self.token(1);
        let key = token.find_key(&key_type.to_string()).expect("the token answers").expect("the key is there");
        let signature = key.sign(&MESSAGE).expect("a signature");
        (key, signature)
    }

    /// Measures the token's keys and ring's.
    pub(crate) async fn run(&self, watch: &Watch, report: &mut Report) {
        let shapes = [
            ("token.p256.1", "P-256", 1, "P-256 signatures by the PKCS#11 token, one session"),
            ("token.p256.2", "P-256", 2, "the same with two sessions: SoftHSM has a lock inside, so it hardly gains"),
            ("token.rsa2048.1", "RSA-2048", 1, "RSA-2048 signatures by the token, one session"),
            ("token.rsa2048.2", "RSA-2048", 2, "the same with two sessions"),
        ];
        for (id, label, sessions, what) in shapes {
            let sample = self.sign(watch, label, sessions, LENGTH).await;
            let callers = sessions * CALLERS;
            report.rate(id, "signatures/s", &sample, format!("{what}; {callers} callers through the session pool"));
        }
        let key = Arc::new(MemoryKey::generate_p256().expect("a key"));
        let signature = key.sign(&MESSAGE).expect("a signature");
        let signer = Arc::clone(&key);
        let sign = move || repeat(LENGTH / 2, || drop(signer.sign(&MESSAGE).expect("a signature")));
        let sample = watch.threads([sign]).await;
        report.rate("ring.p256.sign", "signatures/s", &sample, "P-256 signatures by ring, one thread: OCSP answers");
        let verify = move || {
            repeat(LENGTH / 2, || {
                key.public_key().verify(key.algorithm(), &MESSAGE, &signature).expect("a good signature");
            })
        };
        let sample = watch.threads([verify]).await;
        report.rate("ring.p256.verify", "verifications/s", &sample, "P-256 verifications by ring, one thread");
    }
}
