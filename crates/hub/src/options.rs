//! What a search may use: caches, end point, token, time-outs.

use std::fmt;
use std::path::PathBuf;

use crate::proxy::Proxies;

/// Where to look and how long to wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubOptions {
    /// Whether the network is left alone.
    pub offline: bool,
    /// Our own cache; models stand in its folder `models`, data sets in `data`.
    pub cache_folder: PathBuf,
    /// The folder of `models--org--name`, shared with other Hugging Face tools.
    pub hugging_face_cache: Option<PathBuf>,
    /// The hub's address.
    pub endpoint: String,
    /// Sent to the end point's host and to no other.
    pub token: Option<Token>,
    /// A file that holds the token; read only when there is no `token`.
    pub token_file: Option<PathBuf>,
    /// The proxies on the way out.
    pub proxies: Proxies,
    /// Certificates to trust (PEM) in place of the built-in ones.
    pub certificates_file: Option<PathBuf>,
    /// The Python whose pip fetches wheels.
    pub python: String,
    /// How long to wait for a connection and for the first byte of an answer.
    pub connect_timeout_seconds: u64,
    /// How long a download may stand still.
    pub stall_timeout_seconds: u64,
    /// How long pip may take for one wheel.
    pub wheel_timeout_seconds: u64,
}

impl Default for HubOptions {
    /// The options of a process without any environment variable.
    fn default() -> Self {
        Self::from_vars(|_| None)
    }
}

impl HubOptions {
    /// Reads the variables that users of Hugging Face tools know; an empty value counts as unset.
    ///
    /// ```
    /// use stillhouse_hub::HubOptions;
    ///
    /// let options = HubOptions::from_vars(|name| match name {
    ///     "HF_HOME" => Some("/data/hf".to_owned()),
    ///     "HF_HUB_OFFLINE" => Some("1".to_owned()),
    ///     _ => None,
    /// });
    /// assert!(options.offline);
    /// assert_eq!(options.hugging_face_cache, Some("/data/hf/hub".into()));
    /// ```
    pub fn from_vars(vars: impl Fn(&str) -> Option<String>) -> Self {
        let var = |names: &[&str]| {
            names
                .iter()
                .find_map(|name| vars(name).filter(|value| !value.trim().is_empty()))
        };
        let path = |names: &[&str]| var(names).map(PathBuf::from);
        let is_set = |names: &[&str]| {
            var(names).is_some_and(|value| {
                matches!(
                    value.trim().to_ascii_lowercase().as_str(),
                    "1" | "on" | "yes" | "true"
                )
            })
        };

        let home = path(&["HOME", "USERPROFILE"]);
        let caches = path(&["XDG_CACHE_HOME"]).or_else(|| home.map(|home| home.join(".cache")));
        let hf_home =
            path(&["HF_HOME"]).or_else(|| caches.as_ref().map(|caches| caches.join("huggingface")));
        let cache_folder = path(&["STILLHOUSE_CACHE"])
            .or_else(|| caches.map(|caches| caches.join("stillhouse")))
            .unwrap_or_else(|| PathBuf::from(".stillhouse-cache"));
        let endpoint = var(&["HF_ENDPOINT"]).unwrap_or_else(|| "https://huggingface.co".to_owned());
        let token = var(&["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"]);

        Self {
            offline: is_set(&["HF_HUB_OFFLINE"]) || is_set(&["TRANSFORMERS_OFFLINE"]),
            cache_folder,
            hugging_face_cache: path(&["HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"])
                .or_else(|| hf_home.as_ref().map(|hf_home| hf_home.join("hub"))),
            token: token.map(|token| Token::new(token.trim())),
            token_file: path(&["HF_TOKEN_PATH"])
                .or_else(|| hf_home.map(|hf_home| hf_home.join("token"))),
            proxies: Proxies::from_vars(&vars),
            endpoint: endpoint.trim().trim_end_matches('/').to_owned(),
            certificates_file: path(&["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"]),
            python: var(&["STILLHOUSE_PYTHON"]).unwrap_or_else(|| "python3".to_owned()),
            connect_timeout_seconds: 5,
            stall_timeout_seconds: 30,
            wheel_timeout_seconds: 600,
        }
    }
}

/// A secret; its `Debug` shows nothing of it.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// Takes the secret into custody.
    pub fn new(secret: impl Into<String>) -> Self {
        Self(secret.into())
    }

    /// What is kept, for the one who sends it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(vars: &[(&str, &str)]) -> HubOptions {
        HubOptions::from_vars(|name| {
            vars.iter()
                .find(|(n, _)| *n == name)
                .map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn the_hugging_face_cache_stands_where_the_variables_say() {
        let check = |vars: &[(&str, &str)], expected: &str| {
            assert_eq!(
                options(vars).hugging_face_cache,
                Some(expected.into()),
                "{vars:?}"
            );
        };
        check(&[("HOME", "/h")], "/h/.cache/huggingface/hub");
        check(
            &[("HOME", "/h"), ("XDG_CACHE_HOME", "/x")],
            "/x/huggingface/hub",
        );
        check(&[("HOME", "/h"), ("HF_HOME", "/f")], "/f/hub");
        check(&[("HF_HOME", "/f"), ("HF_HUB_CACHE", "/c")], "/c");
        check(
            &[("HOME", "/h"), ("HF_HOME", "")],
            "/h/.cache/huggingface/hub",
        );
    }

    #[test]
    fn our_cache_and_the_token_file_stand_where_the_variables_say() {
        let here = options(&[("HOME", "/h")]);
        assert_eq!(here.cache_folder, PathBuf::from("/h/.cache/stillhouse"));
        assert_eq!(here.token_file, Some("/h/.cache/huggingface/token".into()));
        assert_eq!(
            options(&[("STILLHOUSE_CACHE", "/s")]).cache_folder,
            PathBuf::from("/s")
        );
        assert_eq!(
            options(&[("HF_TOKEN_PATH", "/t")]).token_file,
            Some("/t".into())
        );
    }

    #[test]
    fn offline_is_said_as_other_tools_say_it() {
        for value in ["1", "ON", "yes", "True"] {
            assert!(options(&[("HF_HUB_OFFLINE", value)]).offline, "{value}");
        }
        for value in ["0", "", "no"] {
            assert!(!options(&[("HF_HUB_OFFLINE", value)]).offline, "{value}");
        }
    }

    #[test]
    fn a_token_is_never_shown() {
        let options = options(&[
            ("HF_TOKEN", "hf_canary"),
            ("HTTPS_PROXY", "http://u:canary@p"),
        ]);
        assert_eq!(options.token, Some(Token::new("hf_canary")));
        assert!(!format!("{options:?}").contains("canary"));
    }
}
