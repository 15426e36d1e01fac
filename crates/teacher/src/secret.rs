//! A text that nothing shows.

use std::fmt;

/// A key or a password: its `Debug` shows nothing of it, and it cannot be serialised.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

/// What stands where a secret was.
const HIDDEN: &str = "[hidden]";

impl Secret {
    /// Takes the secret into custody.
    pub fn new(secret: impl Into<String>) -> Self {
        Self(secret.into())
    }

    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }

    /// Takes the secret out of a text that came from outside: a server may quote what it got.
    pub(crate) fn scrub(&self, text: String) -> String {
        if self.0.is_empty() || !text.contains(&self.0) {
            text
        } else {
            text.replace(&self.0, HIDDEN)
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_never_shown() {
        let secret = Secret::new("sk-canary");
        assert_eq!(format!("{secret:?}"), "Secret(..)");
        assert_eq!(
            secret.scrub("bad key sk-canary!".into()),
            "bad key [hidden]!"
        );
    }
}
