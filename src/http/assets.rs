//! The live page's style and scripts. They are in the binary, so the page needs no other server and works in a closed
//! network.

use warp::http::StatusCode;
use warp::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use warp::reply::Response;

/// The name, the type and the text of each asset. `idiomorph.min.js` is Idiomorph 0.8.0 (0BSD), unchanged. It changes a
/// page in place, so that the reader's focus, selection and scroll position survive.
/// <https://github.com/bigskysoftware/idiomorph>
const ALL: [(&str, &str, &str); 6] = [
    ("live.css", "text/css; charset=utf-8", include_str!("assets/live.css")),
    ("live.js", "text/javascript; charset=utf-8", include_str!("assets/live.js")),
    ("acts.js", "text/javascript; charset=utf-8", include_str!("assets/acts.js")),
    ("past.js", "text/javascript; charset=utf-8", include_str!("assets/past.js")),
    ("rewind.js", "text/javascript; charset=utf-8", include_str!("assets/rewind.js")),
    ("idiomorph.min.js", "text/javascript; charset=utf-8", include_str!("assets/idiomorph.min.js")),
];

/// The asset with this name, or 404.
pub fn answer(name: &str) -> Response {
    let Some((_, kind, text)) = ALL.iter().find(|(known, ..)| *known == name) else {
        return super::error(StatusCode::NOT_FOUND, "there is nothing at this path");
    };
    let mut response = Response::new((*text).into());
    let headers: [(HeaderName, &'static str); 3] =
        [(CONTENT_TYPE, kind), (CACHE_CONTROL, "no-cache"), (X_CONTENT_TYPE_OPTIONS, "nosniff")];
    for (name, value) in headers {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_them_comes_from_elsewhere() {
        for (name, _, text) in &ALL[..5] {
            for word in ["http://", "https://", "@import", "url(", "eval("] {
                assert!(!text.contains(word), "{name} has {word}");
            }
        }
        assert!(answer("live.css").status() == 200 && answer("../secrets").status() == 404);
    }
}
