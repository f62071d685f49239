//! Who may come in: users, and the argon2 hashes of their passwords.
//!
//! ```text
//!  user, secret ─► the secret that last let this user in? ─ yes ─────────────────────► User
//!                        └ no ─► argon2, few at a time, beside the runtime ─ equal ─► User, remembered
//! ```
//!
//! - A password is never kept: the configuration holds a hash, and what is remembered is a keyed hash whose key lives as
//!   long as the process. Both are compared in constant time.
//! - A name that nobody has costs the same argon2 as a wrong password.

use core::fmt;
use std::sync::Arc;

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use argon2::{Algorithm, Argon2, Params};
use blake2::Blake2sMac256;
use blake2::digest::{KeyInit as _, Mac as _};
use parking_lot::Mutex;
use tokio::sync::Semaphore;

/// A user as the configuration names it.
#[derive(Clone, PartialEq, Eq)]
pub struct Account {
    name: String,
    hash: PasswordHash,
}

impl Account {
    /// An account from its name and its hash as a PHC string (`$argon2id$v=19$…`).
    ///
    /// # Errors
    /// What is wrong, without repeating either of them.
    pub fn new(name: &str, phc: &str) -> Result<Self, &'static str> {
        let graphic = |byte: &u8| byte.is_ascii_graphic() && *byte != b':';
        if name.is_empty() || name.len() > MAX_NAME_BYTES || !name.as_bytes().iter().all(graphic) {
            return Err("a user's name is 1 to 64 printable ASCII characters, without space and colon");
        }
        let hash = PasswordHash::new(phc).map_err(|_| NO_HASH)?;
        let algorithm = Algorithm::new(hash.algorithm.as_str()).map_err(|_| NO_HASH)?;
        let params = Params::try_from(&hash).map_err(|_| NO_HASH)?;
        if algorithm != Algorithm::Argon2id || hash.salt.is_none() || hash.hash.is_none() {
            return Err(NO_HASH);
        }
        if params.m_cost() > MAX_MEMORY_KIB || params.t_cost() > MAX_PASSES {
            return Err("the hash asks for more than 256 MiB or 64 passes");
        }
        Ok(Self { name: name.to_owned(), hash })
    }

    /// The user's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Account").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Somebody who has shown who they are.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct User(Arc<str>);

impl User {
    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0
    }
}

/// The users of one listener.
pub struct Credentials {
    known: Vec<Known>,
    /// Of the hashes that are remembered; drawn at random.
    key: [u8; 32],
    /// Argon2 takes a core and megabytes for some time: wrong guesses must not take them all.
    turns: Semaphore,
}

struct Known {
    user: User,
    hash: PasswordHash,
    remembered: Mutex<Option<[u8; 32]>>,
}

impl Credentials {
    /// The users of these accounts.
    ///
    /// # Panics
    /// When the system has no random numbers.
    #[must_use]
    pub fn new(accounts: &[Account]) -> Self {
        let user = |account: &Account| Known {
            user: User(account.name.as_str().into()),
            hash: account.hash.clone(),
            remembered: Mutex::default(),
        };
        let mut key = [0; 32];
        let (left, right) = key.split_at_mut(16);
        left.copy_from_slice(&argon2::password_hash::generate_salt());
        right.copy_from_slice(&argon2::password_hash::generate_salt());
        Self { known: accounts.iter().map(user).collect(), key, turns: Semaphore::new(TURNS) }
    }

    /// Whether there is no user, so that everybody may come in.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// The user of this name, if the secret is right. May take tens of milliseconds of a processor: not for a thread
    /// of the runtime, see [`Self::authenticate`].
    #[must_use]
    pub fn verify(&self, user: &[u8], secret: &[u8]) -> Option<User> {
        if let Some(user) = self.recall(user, secret) {
            return Some(user);
        }
        let known = self.find(user);
        let hash = &known.or(self.known.first())?.hash;
        let right = Argon2::default().verify_password(secret, hash).is_ok();
        let known = known.filter(|_| right)?;
        *known.remembered.lock() = Some(self.tag(user, secret).finalize().into_bytes().into());
        Some(known.user.clone())
    }

    /// The same for tasks: argon2 runs on a blocking thread, few at a time.
    pub async fn authenticate(self: &Arc<Self>, user: &[u8], secret: &[u8]) -> Option<User> {
        if let Some(user) = self.recall(user, secret) {
            return Some(user);
        }
        if secret.len() > MAX_SECRET_BYTES {
            return None;
        }
        let _turn = self.turns.acquire().await.ok()?;
        let (this, user, secret) = (Arc::clone(self), user.to_vec(), secret.to_vec());
        tokio::task::spawn_blocking(move || this.verify(&user, &secret)).await.ok()?
    }

    /// The user, if this very secret let them in before.
    fn recall(&self, user: &[u8], secret: &[u8]) -> Option<User> {
        let known = self.find(user)?;
        let remembered = (*known.remembered.lock())?;
        let is_same = self.tag(user, secret).verify_slice(&remembered).is_ok();
        is_same.then(|| known.user.clone())
    }

    fn find(&self, user: &[u8]) -> Option<&Known> {
        self.known.iter().find(|known| known.user.name().as_bytes() == user)
    }

    /// The user's name is without a NUL, so that name and secret can't be mistaken for another pair.
    fn tag(&self, user: &[u8], secret: &[u8]) -> Blake2sMac256 {
        let mut tag = Blake2sMac256::new(&self.key.into());
        for part in [user, &[0], secret] {
            tag.update(part);
        }
        tag
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.known.iter().map(|known| &known.user)).finish()
    }
}

/// The PHC string for a password, with a salt of its own.
///
/// # Errors
/// The password is longer than a kilobyte, or the system has no random numbers.
pub fn hash_password(secret: &[u8]) -> Result<String, &'static str> {
    if secret.len() > MAX_SECRET_BYTES {
        return Err("a password has at most 1024 bytes");
    }
    let hash: Result<PasswordHash, _> = Argon2::default().hash_password(secret);
    hash.map(|hash| hash.to_string()).map_err(|_| "the system has no random numbers")
}

const NO_HASH: &str = "this is no argon2id hash: make one with `std-server hash-password`";
const MAX_NAME_BYTES: usize = 64;
const MAX_SECRET_BYTES: usize = 1024;
const MAX_MEMORY_KIB: u32 = 256 << 10;
const MAX_PASSES: u32 = 64;
const TURNS: usize = 2;

#[cfg(test)]
mod tests {
    use super::*;

    /// The cheapest hash there is, for tests that make many.
    fn cheap(secret: &[u8]) -> String {
        let params = Params::new(Params::MIN_M_COST, 1, 1, None).expect("in range");
        let argon2 = Argon2::new(Algorithm::Argon2id, argon2::Version::V0x13, params);
        let hash: PasswordHash = argon2.hash_password(secret).expect("random numbers");
        hash.to_string()
    }

    fn credentials() -> Credentials {
        let account = |name, secret| Account::new(name, &cheap(secret)).expect("an account");
        Credentials::new(&[account("ann", b"hunter2"), account("bob", b"")])
    }

    #[test]
    fn only_the_right_pair_comes_in_and_again_and_again() {
        let credentials = credentials();
        for _ in 0..3 {
            assert_eq!(credentials.verify(b"ann", b"hunter2").expect("right").name(), "ann");
            for (user, secret) in
                [("ann", "hunter3"), ("ann", ""), ("bob", "hunter2"), ("eve", "hunter2"), ("", "")]
            {
                assert_eq!(credentials.verify(user.as_bytes(), secret.as_bytes()), None, "{user} {secret}");
            }
        }
        assert_eq!(credentials.verify(b"bob", b"").expect("an empty password is one").name(), "bob");
        assert_eq!(Credentials::new(&[]).verify(b"ann", b"hunter2"), None);
    }

    #[test]
    fn what_was_right_is_remembered_without_argon2_and_what_was_wrong_is_not() {
        let credentials = credentials();
        assert_eq!(credentials.recall(b"ann", b"hunter2"), None);
        assert!(credentials.verify(b"ann", b"hunter2").is_some());
        assert!(credentials.verify(b"ann", b"hunter3").is_none());
        assert!(credentials.recall(b"ann", b"hunter2").is_some());
        assert_eq!(credentials.recall(b"ann", b"hunter3"), None);
        assert_eq!(credentials.recall(b"bob", b"hunter2"), None);
    }

    #[test]
    fn hashes_are_salted_parse_again_and_fit() {
        let [one, other] = [b"x", b"x"].map(|secret| hash_password(secret).expect("random numbers"));
        assert!(one.starts_with("$argon2id$v=19$") && one != other, "{one} {other}");
        let account = Account::new("ann", &one).expect("what is made is taken");
        assert!(Credentials::new(&[account]).verify(b"ann", b"x").is_some());
        assert!(hash_password(&[0; MAX_SECRET_BYTES + 1]).is_err());
    }

    #[test]
    fn what_is_no_account_is_refused_without_repeating_it() {
        let good = cheap(b"x");
        let costly = good.replace("m=8", "m=4000000");
        assert_ne!(good, costly);
        for (name, hash) in [
            ("ann", "hunter2"),
            ("ann", ""),
            ("ann", "$argon2id$v=19$m=8,t=1,p=1"),
            ("ann", "$2b$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy"),
            ("ann", &costly),
            ("", &good),
            ("a b", &good),
            ("a:b", &good),
        ] {
            let said = Account::new(name, hash).expect_err(hash);
            assert!(!said.contains("hunter2"), "{said}");
        }
        let shown = format!("{:?} {:?}", Account::new("ann", &good), credentials());
        assert!(shown.contains("ann") && !shown.contains("argon2"), "{shown}");
    }

    #[tokio::test]
    async fn tasks_are_answered_alike() {
        let credentials = Arc::new(credentials());
        assert!(credentials.authenticate(b"ann", b"hunter2").await.is_some());
        assert!(credentials.authenticate(b"ann", b"hunter2").await.is_some());
        assert!(credentials.authenticate(b"ann", b"hunter3").await.is_none());
        assert!(credentials.authenticate(b"ann", &[b'x'; MAX_SECRET_BYTES + 1]).await.is_none());
    }
}
