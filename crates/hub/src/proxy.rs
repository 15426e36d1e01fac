//! Which proxy stands on the way to an address, as the environment's variables say.

use crate::options::Token;

/// The proxies of the environment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proxies {
    http: Option<Token>,
    https: Option<Token>,
    excluded: Vec<String>,
}

impl Proxies {
    /// Reads `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY`, in capitals or not; an empty
    /// value counts as unset.
    pub fn from_vars(vars: impl Fn(&str) -> Option<String>) -> Self {
        let var = |names: &[&str]| {
            let found = names.iter().filter_map(|name| vars(name));
            let mut found = found.map(|value| value.trim().to_owned());
            found.find(|value| !value.is_empty())
        };
        let excluded = var(&["NO_PROXY", "no_proxy"]).unwrap_or_default();
        let proxy = |names: &[&str]| var(names).map(Token::new);
        Self {
            http: proxy(&["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"]),
            https: proxy(&["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"]),
            excluded: excluded
                .split(',')
                .map(|pattern| pattern.trim().to_owned())
                .filter(|pattern| !pattern.is_empty())
                .collect(),
        }
    }

    /// The proxy on the way to `url`; a loopback address never goes through one.
    pub fn of(&self, url: &str) -> Option<&Token> {
        let (scheme, _) = url.split_once("://")?;
        let host = host_of(url)?;
        let is_excluded = |pattern: &String| {
            let domain = pattern.trim_start_matches("*.").trim_start_matches('.');
            pattern == "*"
                || !domain.is_empty() && (host == domain || host.ends_with(&format!(".{domain}")))
        };
        if is_this_machine(host) || self.excluded.iter().any(is_excluded) {
            return None;
        }
        if scheme.eq_ignore_ascii_case("https") {
            self.https.as_ref()
        } else {
            self.http.as_ref()
        }
    }
}

/// The host of an address; `None` where there is none.
pub fn host_of(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let authority = authority.rsplit('@').next().unwrap_or_default();
    let host = match authority.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    (!host.is_empty()).then_some(host)
}

/// Whether a host is this machine itself.
pub fn is_this_machine(host: &str) -> bool {
    let is_loopback = |ip: std::net::IpAddr| ip.is_loopback();
    host.eq_ignore_ascii_case("localhost") || host.parse().is_ok_and(is_loopback)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_used_only_for_hosts_that_are_not_excluded() {
        let check = |url: &str, vars: &[(&str, &str)], expected: Option<&str>| {
            let proxies = Proxies::from_vars(|name| {
                let found = vars.iter().find(|(n, _)| *n == name);
                found.map(|(_, value)| (*value).to_owned())
            });
            let expected = expected.map(Token::new);
            assert_eq!(proxies.of(url), expected.as_ref(), "{url} {vars:?}");
        };
        let (proxy, hub) = (("HTTPS_PROXY", "http://p:1"), "https://huggingface.co");
        check(hub, &[proxy], Some("http://p:1"));
        check("HTTPS://a.b/v1", &[proxy], Some("http://p:1"));
        check("http://a.b/v1", &[proxy], None);
        check(hub, &[("all_proxy", "http://a:1")], Some("http://a:1"));
        check(
            hub,
            &[proxy, ("NO_PROXY", "localhost,huggingface.co")],
            None,
        );
        check("https://a.b/v1", &[proxy, ("NO_PROXY", "x, .b")], None);
        check(hub, &[proxy, ("no_proxy", "*")], None);
        check(hub, &[proxy, ("NO_PROXY", "face.co")], Some("http://p:1"));
        let both = ("all_proxy", "http://p:1");
        for here in [
            "http://127.0.0.1:80",
            "https://localhost:1/v1",
            "https://[::1]:1/v1",
        ] {
            check(here, &[both], None);
        }
        check("no address", &[both], None);
    }
}
