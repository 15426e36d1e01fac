//! End points with their addresses, keys and proxies: what the environment adds to the options.

use std::path::PathBuf;

use stillhouse_hub::{Proxies, is_this_machine};

use crate::error::{Error, Result};
use crate::options::TeacherOptions;
use crate::secret::Secret;

/// Where `OpenAI` itself answers.
const OPENAI: &str = "https://api.openai.com/v1";

/// A server that is asked.
#[derive(Clone, Debug, PartialEq)]
pub struct EndPoint {
    /// Its address up to `/chat/completions`, without a slash at the end.
    pub base_url: String,
    /// The model's name there.
    pub model: String,
    /// Sent to this server alone.
    pub key: Option<Secret>,
    /// The proxy on the way to it.
    pub proxy: Option<Secret>,
    /// Its share of the requests.
    pub weight: f64,
}

/// The end points, and whom to trust on the way.
#[derive(Clone, Debug, PartialEq)]
pub struct Access {
    /// The first one is the one whose answers the ledger keeps under its name.
    pub end_points: Vec<EndPoint>,
    /// Certificates to trust (PEM) in place of the built-in ones.
    pub certificates_file: Option<PathBuf>,
}

impl Access {
    /// Puts the variables that users of such end points know to the options.
    ///
    /// `OPENAI_API_KEY` goes to `OpenAI`, to the server of `OPENAI_BASE_URL` and to this machine;
    /// to any other server only where `api_key_var` names it, since a config file from elsewhere
    /// must not be able to send a key away.
    pub fn from_vars(
        options: &TeacherOptions,
        vars: impl Fn(&str) -> Option<String>,
    ) -> Result<Self> {
        let var = |names: &[&str]| {
            names.iter().find_map(|name| {
                vars(name)
                    .map(|value| value.trim().to_owned())
                    .filter(|value| !value.is_empty())
            })
        };
        let model = options.model.clone().unwrap_or_default();
        let usual = var(&["OPENAI_BASE_URL"]).unwrap_or_else(|| OPENAI.into());
        let first = options.base_url.clone().unwrap_or_else(|| usual.clone());
        let own = (first, None, options.api_key_var.clone(), 1.0);
        let others = options.end_points.iter().map(|other| {
            let name = other.api_key_var.clone();
            (
                other.base_url.clone(),
                other.model.clone(),
                name,
                other.weight,
            )
        });
        let proxies = Proxies::from_vars(&vars);
        let mut end_points = Vec::new();
        for (base_url, name, key_var, weight) in std::iter::once(own).chain(others) {
            let base_url = base_url.trim().trim_end_matches('/').to_owned();
            let host = host_of(&base_url)?;
            let is_usual = host == "api.openai.com"
                || is_this_machine(host)
                || host_of(&usual).is_ok_and(|usual| usual == host);
            let key = match &key_var {
                Some(name) => Some(var(&[name]).ok_or_else(|| {
                    let what = format!("names the variable {name}, which is not set");
                    Error::option("teacher.api_key_var", what)
                })?),
                None if is_usual => var(&["OPENAI_API_KEY"]),
                None => None,
            };
            let name_of_key = key_var.as_deref().unwrap_or("OPENAI_API_KEY");
            // A header cannot hold anything else, and its error would have to show it.
            if key
                .as_ref()
                .is_some_and(|key| !key.bytes().all(|b| b.is_ascii_graphic()))
            {
                let what = format!("{name_of_key} holds no key: one word of printable characters");
                return Err(Error::option("teacher.api_key_var", what));
            }
            end_points.push(EndPoint {
                proxy: proxies
                    .of(&base_url)
                    .map(|proxy| Secret::new(proxy.reveal())),
                model: name.unwrap_or_else(|| model.clone()),
                key: key.map(Secret::new),
                base_url,
                weight,
            });
        }
        let certificates_file = var(&["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"]);
        Ok(Self {
            end_points,
            certificates_file: certificates_file.map(PathBuf::from),
        })
    }

    /// Whose answers these are, for the ledger: the first end point's address. Further end
    /// points are declared to be the same teacher.
    pub fn identity(&self) -> &str {
        self.end_points.first().map_or("", |first| &first.base_url)
    }

    /// Whether every end point is on this machine.
    pub fn is_local(&self) -> bool {
        let is_local = |e: &EndPoint| host_of(&e.base_url).is_ok_and(is_this_machine);
        self.end_points.iter().all(is_local)
    }

    /// End points to which a key would go readable for everyone on the way.
    pub fn in_clear(&self) -> impl Iterator<Item = &EndPoint> {
        self.end_points.iter().filter(|e| {
            let is_plain = e
                .base_url
                .get(..7)
                .is_some_and(|s| s.eq_ignore_ascii_case("http://"));
            is_plain && e.key.is_some() && !host_of(&e.base_url).is_ok_and(is_this_machine)
        })
    }
}

/// The host of an address that may be asked.
pub(crate) fn host_of(url: &str) -> Result<&str> {
    let bad = |what: &str| {
        // What stands before an @ is a password.
        let shown = url.rsplit('@').next().unwrap_or_default();
        Err(Error::option(
            "teacher.base_url",
            format!("`{shown}` {what}"),
        ))
    };
    let Some((scheme, rest)) = url.split_once("://") else {
        return bad("must begin with https:// or http://");
    };
    if !["http", "https"]
        .iter()
        .any(|known| scheme.eq_ignore_ascii_case(known))
    {
        return bad("must begin with https:// or http://");
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.contains('@') {
        return bad(
            "must not hold a password: put the key into a variable and name it in teacher.api_key_var",
        );
    }
    if rest.contains(['?', '#']) || url.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return bad("must be a plain address, without ?, # or spaces");
    }
    let host = match authority.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    if host.is_empty() {
        return bad("has no host");
    }
    Ok(host)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::{EndPointOptions, Kind};

    fn access(
        base_url: Option<&str>,
        key_var: Option<&str>,
        vars: &[(&str, &str)],
    ) -> Result<Access> {
        let options = TeacherOptions {
            kind: Kind::Http,
            base_url: base_url.map(str::to_owned),
            model: Some("m".into()),
            api_key_var: key_var.map(str::to_owned),
            ..TeacherOptions::default()
        };
        Access::from_vars(&options, |name| {
            let found = vars.iter().find(|(n, _)| *n == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn a_key_goes_only_where_it_belongs() {
        let key = ("OPENAI_API_KEY", "sk-1");
        let check = |base_url, key_var, vars: &[(&str, &str)], expected: &str| {
            let access = access(base_url, key_var, vars).unwrap();
            let first = &access.end_points[0];
            let key = first.key.as_ref().map_or("no key", Secret::reveal);
            assert_eq!(format!("{} {key}", first.base_url), expected);
        };
        check(None, None, &[key], "https://api.openai.com/v1 sk-1");
        check(
            None,
            None,
            &[key, ("OPENAI_BASE_URL", "https://a.b/v1/")],
            "https://a.b/v1 sk-1",
        );
        check(
            Some("http://127.0.0.1:8000/v1"),
            None,
            &[key],
            "http://127.0.0.1:8000/v1 sk-1",
        );
        check(
            Some("https://elsewhere.net"),
            None,
            &[key],
            "https://elsewhere.net no key",
        );
        check(
            Some("https://elsewhere.net"),
            Some("MINE"),
            &[key, ("MINE", "sk-2")],
            "https://elsewhere.net sk-2",
        );
    }

    #[test]
    fn addresses_that_must_not_be_asked_are_named_without_their_password() {
        let check = |base_url: &str, expected: &str| {
            let error = access(Some(base_url), None, &[]).unwrap_err().to_string();
            assert!(
                error.contains(expected) && !error.contains("canary"),
                "{error}"
            );
        };
        check("ftp://a.b/v1", "must begin with https:// or http://");
        check("file:///etc/passwd", "must begin with https:// or http://");
        check("a.b/v1", "must begin with https:// or http://");
        check("https://me:canary@a.b/v1", "must not hold a password");
        check("https://a.b/v1?key=1", "must be a plain address");
        check("https:///v1", "has no host");
        let error = access(None, Some("MINE"), &[]).unwrap_err().to_string();
        assert!(
            error.contains("the variable MINE, which is not set"),
            "{error}"
        );
        let error = access(None, None, &[("OPENAI_API_KEY", "canary canary")]).unwrap_err();
        assert!(!error.to_string().contains("canary"), "{error}");
    }

    #[test]
    fn a_proxy_is_the_one_that_the_variables_name() {
        let proxy = |url| {
            let vars = [("HTTPS_PROXY", "http://p:1"), ("NO_PROXY", "c.d")];
            access(Some(url), None, &vars).unwrap().end_points[0]
                .proxy
                .clone()
        };
        assert_eq!(proxy("https://a.b/v1"), Some(Secret::new("http://p:1")));
        assert_eq!(proxy("https://c.d/v1"), None);
        assert_eq!(proxy("https://localhost:1/v1"), None);
    }

    #[test]
    fn nothing_of_it_shows_a_key() {
        let vars = [
            ("OPENAI_API_KEY", "sk-canary"),
            ("HTTP_PROXY", "http://u:canary@p:1"),
        ];
        let access = access(Some("http://a.b/v1"), Some("OPENAI_API_KEY"), &vars).unwrap();
        assert!(!format!("{access:?}").contains("canary"));
        assert_eq!(access.in_clear().count(), 1);
    }

    #[test]
    fn further_end_points_have_names_and_weights_of_their_own() {
        let options = TeacherOptions {
            base_url: Some("http://127.0.0.1:1/v1".into()),
            model: Some("m".into()),
            end_points: vec![EndPointOptions {
                base_url: "http://127.0.0.1:2/v1".into(),
                model: Some("other".into()),
                api_key_var: None,
                weight: 3.0,
            }],
            ..TeacherOptions::default()
        };
        let access = Access::from_vars(&options, |_| None).unwrap();
        assert_eq!(access.identity(), "http://127.0.0.1:1/v1");
        assert_eq!(
            (
                access.end_points[1].model.as_str(),
                access.end_points[1].weight
            ),
            ("other", 3.0)
        );
        assert!(access.is_local());
    }
}
