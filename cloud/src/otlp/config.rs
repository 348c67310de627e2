//! Whether traces are exported, where to, and with which headers. OpenTelemetry's own environment variables say so; they are read
//! once, at the start. An empty variable counts as absent.
//!
//! <https://opentelemetry.io/docs/specs/otel/protocol/exporter/> and
//! <https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/>

use std::time::Duration;

use http::{HeaderName, HeaderValue, Uri};
use muster_operations::environment;
use percent_encoding::percent_decode_str;
use secrecy::SecretString;

/// How long one request may take if `OTEL_EXPORTER_OTLP_TIMEOUT` does not say otherwise.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The most headers, and the most resource attributes.
const MOST: usize = 64;

/// Every variable that this module reads.
const VARIABLES: [&str; 12] = [
    "OTEL_SDK_DISABLED",
    "OTEL_TRACES_EXPORTER",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_PROTOCOL",
    "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
    "OTEL_EXPORTER_OTLP_TIMEOUT",
    "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT",
    "OTEL_EXPORTER_OTLP_HEADERS",
    "OTEL_EXPORTER_OTLP_TRACES_HEADERS",
    "OTEL_RESOURCE_ATTRIBUTES",
    "OTEL_SERVICE_NAME",
];

/// Where traces go, and what is sent with them.
#[derive(Clone, Debug)]
pub struct Config {
    /// The URL that requests are posted to.
    pub endpoint: Uri,
    /// The headers of every request, except its content type. The values are secrets.
    pub headers: Vec<(HeaderName, SecretString)>,
    /// How long one request may take.
    pub timeout: Duration,
    /// `service.name` and the other attributes that describe this process.
    pub resource: Vec<(String, String)>,
}

/// A variable whose value cannot be used. The error says what to write. It never repeats the value of a header.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{name} {problem}; correct it, or unset OTEL_EXPORTER_OTLP_ENDPOINT and OTEL_EXPORTER_OTLP_TRACES_ENDPOINT to export no traces"
)]
pub struct ConfigError {
    name: &'static str,
    problem: String,
}

fn wrong(name: &'static str, problem: impl Into<String>) -> ConfigError {
    ConfigError { name, problem: problem.into() }
}

impl Config {
    /// Reads the configuration from the process's environment. None: no traces are wanted.
    ///
    /// # Errors
    /// When a variable is no UTF-8 text, or when traces are wanted and a variable has a value that cannot be used.
    pub fn from_env() -> Result<Option<Config>, ConfigError> {
        for name in VARIABLES {
            environment::read(name).map_err(|_| wrong(name, "is not UTF-8 text"))?;
        }
        Config::from_vars(|name| environment::read(name).ok().flatten())
    }

    /// Reads the configuration from any source of variables. None: no traces are wanted.
    ///
    /// # Errors
    /// See [`Config::from_env`].
    pub fn from_vars(var: impl Fn(&str) -> Option<String>) -> Result<Option<Config>, ConfigError> {
        let var = |name: &'static str| {
            let value = var(name)?.trim().to_owned();
            (!value.is_empty()).then_some((name, value))
        };
        let own = var("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT");
        let all =
            var("OTEL_EXPORTER_OTLP_ENDPOINT").map(|(name, base)| (name, format!("{}/v1/traces", base.trim_end_matches('/'))));
        let Some((name, url)) = own.or(all) else { return Ok(None) };
        let off = choice(var("OTEL_SDK_DISABLED"), "true", "false")? || choice(var("OTEL_TRACES_EXPORTER"), "none", "otlp")?;
        if off {
            return Ok(None);
        }
        let endpoint = endpoint(name, &url)?;
        // The variable for traces takes precedence over the one for all signals.
        let either = |own, all| var(own).or_else(|| var(all));
        if let Some((name, protocol)) = either("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
            && protocol != "http/protobuf"
        {
            return Err(wrong(name, format!("is `{protocol}`, and muster speaks http/protobuf only (port 4318 as a rule)")));
        }
        let timeout = match either("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT") {
            None => TIMEOUT,
            Some((name, ms)) => match ms.parse::<u64>() {
                Ok(ms) if (1..=60_000).contains(&ms) => Duration::from_millis(ms),
                _ => return Err(wrong(name, format!("is `{ms}`, which is no number of milliseconds from 1 to 60000"))),
            },
        };
        let headers = match either("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS") {
            None => Vec::new(),
            Some((name, list)) => headers(name, &list)?,
        };
        let mut resource = match var("OTEL_RESOURCE_ATTRIBUTES") {
            None => Vec::new(),
            Some((name, list)) => pairs(name, &list)?,
        };
        if let Some((_, service)) = var("OTEL_SERVICE_NAME") {
            resource.retain(|(key, _)| key != "service.name");
            resource.push(("service.name".into(), service));
        }
        Ok(Some(Config { endpoint, headers, timeout, resource }))
    }

    /// The endpoint as it may be logged. Its query is left out, because it may contain a key.
    pub fn place(&self) -> String {
        let part = |text: Option<&str>| text.unwrap_or_default().to_owned();
        let authority = self.endpoint.authority().map(|a| a.as_str());
        format!("{}://{}{}", part(self.endpoint.scheme_str()), part(authority), self.endpoint.path())
    }
}

/// Whether a variable has the value `yes`. The variable may also have the value `no`; if it is absent, it counts as `no`.
fn choice(set: Option<(&'static str, String)>, yes: &str, no: &str) -> Result<bool, ConfigError> {
    let Some((name, value)) = set else { return Ok(false) };
    match value.to_ascii_lowercase() {
        value if value == yes => Ok(true),
        value if value == no => Ok(false),
        _ => Err(wrong(name, format!("is `{value}`, which is neither {yes} nor {no}"))),
    }
}

fn endpoint(name: &'static str, url: &str) -> Result<Uri, ConfigError> {
    // The error does not repeat the URL, because the URL may contain credentials.
    let uri: Uri = url.parse().map_err(|_| wrong(name, "is no URL; write http://HOST:4318 or https://HOST"))?;
    let Some(authority) = uri.authority() else {
        return Err(wrong(name, "names no host; write http://HOST:4318 or https://HOST"));
    };
    if authority.as_str().contains('@') {
        return Err(wrong(
            name,
            "holds credentials; put them into OTEL_EXPORTER_OTLP_HEADERS, as in `authorization=Basic%20...`",
        ));
    }
    match uri.scheme_str() {
        Some("http" | "https") => Ok(uri),
        _ => Err(wrong(name, "has a scheme that is neither http nor https")),
    }
}

/// Reads `key=value,key=value`, percent-encoded as in W3C's baggage header.
fn pairs(name: &'static str, list: &str) -> Result<Vec<(String, String)>, ConfigError> {
    let malformed = |nth: usize| wrong(name, format!("is not `key=value,key=value`, percent-encoded (entry {})", nth + 1));
    let entries: Vec<&str> = list.split(',').map(str::trim).filter(|entry| !entry.is_empty()).collect();
    if entries.len() > MOST {
        return Err(wrong(name, format!("has {} entries, and {MOST} is the most", entries.len())));
    }
    let decode = |text: &str| percent_decode_str(text.trim()).decode_utf8().ok().map(|text| text.into_owned());
    let read = |(nth, entry): (usize, &&str)| {
        let pair = entry.split_once('=').and_then(|(key, value)| Some((decode(key)?, decode(value)?)));
        pair.filter(|(key, _)| !key.is_empty()).ok_or_else(|| malformed(nth))
    };
    entries.iter().enumerate().map(read).collect()
}

fn headers(name: &'static str, list: &str) -> Result<Vec<(HeaderName, SecretString)>, ConfigError> {
    let read = |(key, value): (String, String)| {
        let key: HeaderName = key.parse().map_err(|_| wrong(name, "has an entry that is no header's name"))?;
        if HeaderValue::from_str(&value).is_err() {
            return Err(wrong(name, format!("has a value for `{key}` that no header can have")));
        }
        Ok((key, SecretString::from(value)))
    };
    pairs(name, list)?.into_iter().map(read).collect()
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    const BASE: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318/");

    fn read(vars: &[(&str, &str)]) -> Result<Option<Config>, ConfigError> {
        Config::from_vars(|name| vars.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()))
    }

    fn on(vars: &[(&str, &str)]) -> Config {
        read(vars).expect("a good configuration").expect("traces are wanted")
    }

    #[test]
    fn nothing_is_exported_unless_asked_for() {
        for vars in [
            vec![],
            vec![("OTEL_EXPORTER_OTLP_ENDPOINT", " ")],
            vec![("OTEL_EXPORTER_OTLP_HEADERS", "nonsense")],
            vec![BASE, ("OTEL_SDK_DISABLED", "TRUE")],
            vec![BASE, ("OTEL_TRACES_EXPORTER", "none")],
        ] {
            assert!(read(&vars).expect("no error").is_none(), "{vars:?}");
        }
    }

    #[test]
    fn the_base_gets_a_path_and_the_signals_own_endpoint_is_taken_as_it_is() {
        assert_eq!(on(&[BASE]).endpoint, "http://collector:4318/v1/traces");
        assert_eq!(on(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "https://x/otlp")]).endpoint, "https://x/otlp/v1/traces");
        let own = on(&[BASE, ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://y/t?key=hunter2")]);
        assert_eq!((own.endpoint.to_string(), own.place()), ("https://y/t?key=hunter2".into(), "https://y/t".into()));
    }

    #[test]
    fn headers_are_decoded_and_never_printed() {
        let config = on(&[BASE, ("OTEL_EXPORTER_OTLP_HEADERS", "Authorization=Basic%20aHVudGVyMg==, x-tenant = a")]);
        let said: Vec<(&str, &str)> = config.headers.iter().map(|(k, v)| (k.as_str(), v.expose_secret())).collect();
        assert_eq!(said, [("authorization", "Basic aHVudGVyMg=="), ("x-tenant", "a")]);
        assert!(!format!("{config:?}").contains("aHVudGVyMg"));
        let own = on(&[BASE, ("OTEL_EXPORTER_OTLP_HEADERS", "a=1"), ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "b=2")]);
        assert_eq!(own.headers.len(), 1);
    }

    #[test]
    fn a_services_own_name_comes_before_the_attributes() {
        let attributes = ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=prod,service.name=other");
        assert!(on(&[BASE, attributes]).resource.contains(&("service.name".into(), "other".into())));
        let both = on(&[BASE, attributes, ("OTEL_SERVICE_NAME", "muster-eu")]).resource;
        assert_eq!(both[0], ("deployment.environment.name".into(), "prod".into()));
        assert_eq!(both[1..], [("service.name".into(), "muster-eu".into())]);
    }

    #[test]
    fn what_makes_no_sense_says_what_to_do_and_repeats_no_secret() {
        for (vars, says) in [
            (vec![("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318")], "http"),
            (vec![("OTEL_EXPORTER_OTLP_ENDPOINT", "grpc://collector")], "neither http nor https"),
            (vec![("OTEL_EXPORTER_OTLP_ENDPOINT", "https://me:hunter2@collector")], "OTEL_EXPORTER_OTLP_HEADERS"),
            (vec![BASE, ("OTEL_SDK_DISABLED", "yes")], "neither true nor false"),
            (vec![BASE, ("OTEL_TRACES_EXPORTER", "zipkin")], "neither none nor otlp"),
            (vec![BASE, ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")], "http/protobuf only"),
            (vec![BASE, ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s")], "milliseconds"),
            (vec![BASE, ("OTEL_EXPORTER_OTLP_HEADERS", "hunter2")], "key=value"),
            (vec![BASE, ("OTEL_EXPORTER_OTLP_HEADERS", "a b=hunter2")], "header's name"),
            (vec![BASE, ("OTEL_EXPORTER_OTLP_HEADERS", "a=hunter2%0a")], "`a`"),
        ] {
            let error = read(&vars).expect_err("nonsense").to_string();
            assert!(error.starts_with(vars[vars.len() - 1].0) && error.contains(says), "{vars:?}: {error}");
            assert!(error.contains("unset") && !error.contains("hunter2"), "{error}");
        }
    }
}
