//! Reads variables of the environment. A variable that cannot be read is an error. If it counted as absent, muster would ignore
//! it without a word.

use std::ffi::OsString;

/// The value of a variable is no UTF-8 text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the variable {0} is not UTF-8 text; set it anew, or unset it")]
pub struct NotText(String);

/// The value of a variable. None: the variable is absent or empty.
///
/// # Errors
/// When the value is not UTF-8.
pub fn read(name: &str) -> Result<Option<String>, NotText> {
    text(name, std::env::var_os(name))
}

fn text(name: &str, value: Option<OsString>) -> Result<Option<String>, NotText> {
    match value.map(OsString::into_string) {
        None => Ok(None),
        Some(Ok(text)) => Ok(Some(text).filter(|text| !text.is_empty())),
        Some(Err(_)) => Err(NotText(name.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_is_absent_and_no_text_is_an_error() {
        assert_eq!(text("A", None), Ok(None));
        assert_eq!(text("A", Some("".into())), Ok(None));
        assert_eq!(text("A", Some("b".into())), Ok(Some("b".to_owned())));
        #[cfg(unix)]
        {
            use std::os::unix::ffi::OsStringExt as _;
            let error = text("A", Some(OsString::from_vec(vec![0xff]))).expect_err("no text");
            assert_eq!(error.to_string(), "the variable A is not UTF-8 text; set it anew, or unset it");
        }
    }
}
