//! Settings come in; addresses that texts may be sent to leave, and HTTP clients that send them nowhere else.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use reqwest::{Client, Url, header::HeaderValue, redirect::Policy};

use super::failed_to_load;
use crate::error::{Error, Result};

/// A checked address.
#[derive(Clone)]
pub(super) struct Address {
    /// Scheme, host, port and path, without a slash at the end. Holds no user name, password or query.
    pub base: String,
    /// Whether it lies on this machine.
    loopback: bool,
}

/// Checks every address.
///
/// # Errors
/// - [`Error::Setting`] if there is none, or one is not of the form `http://host:port/path`. What was given is not repeated.
/// - [`Error::ModelLoad`] if one lies outside this machine and `allow_remote` is not set.
pub(super) fn check(urls: &[String], allow_remote: bool) -> Result<Vec<Address>> {
    let wrong = |got: &str| Error::Setting {
        key: "servers".into(),
        expected: "addresses such as http://127.0.0.1:8000/v1, without user name and query".into(),
        got: got.into(),
    };
    if urls.is_empty() {
        return Err(wrong("none"));
    }
    let mut addresses = Vec::with_capacity(urls.len());
    for url in urls {
        let mut url = Url::parse(url).map_err(|error| wrong(&format!("one that cannot be read ({error})")))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(wrong("one that starts otherwise than http:// or https://"));
        }
        if !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
            return Err(wrong(
                "one with a user name, password, query or fragment; a key goes into a variable (`api_key_env`)",
            ));
        }
        if url.path() == "/" {
            url.set_path("/v1");
        }
        let address = Address { base: url.as_str().trim_end_matches('/').to_owned(), loopback: is_loopback(&url) };
        if !address.loopback && !allow_remote {
            return Err(failed_to_load(
                address.base,
                "it is not on this machine, so texts of patients would leave it".into(),
                "if they may, say so with --allow-remote; else use a server on 127.0.0.1",
            ));
        }
        if !address.loopback && url.scheme() == "http" {
            tracing::warn!("{} is asked over http: texts and key travel unencrypted", address.base);
        }
        addresses.push(address);
    }
    Ok(addresses)
}

/// Tells whether what is sent to `url` stays on this machine.
fn is_loopback(url: &Url) -> bool {
    let Some(host) = url.host_str() else { return false };
    let ip: Option<IpAddr> = host.trim_start_matches('[').trim_end_matches(']').parse().ok();
    ip.map_or(host == "localhost", |ip| ip.to_canonical().is_loopback())
}

/// Reads the key from the environment. Names are not repeated in errors: one may have been taken for the key itself.
///
/// # Errors
/// - [`Error::Setting`] if the variable is missing or cannot be sent in a header.
pub(super) fn key(variable: Option<&str>) -> Result<Option<HeaderValue>> {
    let Some(variable) = variable else { return Ok(None) };
    let wrong = |got: &str| Error::Setting {
        key: "api_key_env".into(),
        expected: "the name of an environment variable that holds the key (not the key)".into(),
        got: got.into(),
    };
    let key = match std::env::var(variable) {
        Ok(key) if !key.trim().is_empty() => key,
        _ => return Err(wrong("a name under which nothing is set")),
    };
    let mut header = HeaderValue::from_str(&format!("Bearer {}", key.trim()))
        .map_err(|_| wrong("a variable with characters that a header cannot hold"))?;
    header.set_sensitive(true);
    Ok(Some(header))
}

/// Makes a client that follows no redirect and, on this machine, uses no proxy and takes `localhost` for nothing else.
///
/// # Errors
/// - [`Error::ModelLoad`] if the system's certificates cannot be read.
pub(super) fn http_client(address: &Address, timeout: Duration) -> Result<Client> {
    let mut builder = Client::builder()
        .redirect(Policy::none())
        .timeout(timeout)
        .connect_timeout(timeout.min(Duration::from_secs(10)))
        // Servers close idle connections after 5 seconds; one that is closing must not be used again.
        .pool_idle_timeout(Duration::from_secs(4));
    if address.loopback {
        let ips: [IpAddr; 2] = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        builder = builder.no_proxy().resolve_to_addrs("localhost", &ips.map(|ip| SocketAddr::new(ip, 0)));
        if address.base.starts_with("http://") {
            // No certificate is needed, so a machine without any will do.
            builder = builder.tls_certs_only([]);
        }
    }
    let hint = "install the system's root certificates (package ca-certificates)";
    builder.build().map_err(|error| failed_to_load(&address.base, format!("no HTTP client: {error}"), hint))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn try_one(url: &str, allow_remote: bool) -> Result<Vec<Address>> {
        check(&[url.to_owned()], allow_remote)
    }

    #[test]
    fn only_loopback_is_this_machine() {
        for url in [
            "http://127.0.0.1:8000/v1",
            "http://127.8.9.1",
            "http://localhost:1",
            "http://LOCALHOST/v1/",
            "https://[::1]:8000",
            "http://[::ffff:127.0.0.1]",
            "http://127.1",
        ] {
            assert!(try_one(url, false).is_ok(), "{url}");
        }
        for url in [
            "http://10.0.0.1",
            "http://0.0.0.0:8000",
            "https://example.org",
            "http://localhost.example.org",
            "http://127.0.0.1.example.org",
            "http://[::2]",
            "http://user.localhost",
        ] {
            assert!(matches!(try_one(url, false), Err(Error::ModelLoad { .. })), "{url}");
            assert!(try_one(url, true).is_ok(), "{url}");
        }
    }

    #[test]
    fn a_path_is_kept_and_v1_is_the_default() {
        assert_eq!(try_one("http://127.0.0.1:8000", false).unwrap()[0].base, "http://127.0.0.1:8000/v1");
        assert_eq!(try_one("http://127.0.0.1:8000/a/b/", false).unwrap()[0].base, "http://127.0.0.1:8000/a/b");
    }

    #[test]
    fn secrets_in_an_address_are_refused_and_not_repeated() {
        for url in [
            "http://me:geheim@127.0.0.1",
            "http://geheim@127.0.0.1",
            "http://127.0.0.1/?key=geheim",
            "geheim",
            "geheim:1",
        ] {
            let error = try_one(url, true).err().expect(url);
            assert!(!format!("{error} {error:?} {:?}", error.hint()).contains("geheim"), "{error:?}");
        }
        assert!(check(&[], false).is_err());
    }
}
