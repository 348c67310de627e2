//! Checks how a pool's instances become runners: the settings that go into their user data.

use super::{Check, is_url};
use crate::manifest::{Bootstrap, Os};

/// The most bytes of the two snippets together. EC2 takes 16 KB of user data, and the script itself needs its share.
/// <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/user-data.html>
const MOST_SNIPPET: usize = 4096;

pub(super) fn bootstrap(b: &Bootstrap, os: Os, check: &mut Check<'_>) {
    let part = |text: &str| !text.is_empty() && text.len() <= 6 && text.chars().all(|c| c.is_ascii_digit());
    if b.version != "latest" && !(b.version.split('.').count() == 3 && b.version.split('.').all(part)) {
        check.fail("spec.bootstrap.version", "is no release of actions/runner; write latest, or a version such as 2.338.1");
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-' || (os == Os::Windows && c == '.');
    // https://learn.microsoft.com/windows/win32/api/lmaccess/ns-lmaccess-user_info_0
    let most = if os == Os::Windows { 20 } else { 32 };
    let begins = b.user.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if !begins || b.user.len() > most || !b.user.chars().all(plain) || b.user.ends_with('.') {
        let problem = format!("is no user's name; write 1 to {most} letters, digits, `_` and `-`, such as runner");
        check.fail("spec.bootstrap.user", problem);
    }
    if b.sudo && os == Os::Windows {
        check.fail(
            "spec.bootstrap.sudo",
            "is for Linux; leave it out: on Windows the user that runs the jobs is an administrator",
        );
    }
    if !b.docker_group && os == Os::Windows {
        check.fail(
            "spec.bootstrap.dockerGroup",
            "is for Linux; leave it out: on Windows the user that runs the jobs is an administrator",
        );
    }
    path("spec.bootstrap.workDirectory", &b.work_directory, check);
    let absolute = |text: &str| match os {
        Os::Linux => text.starts_with('/'),
        Os::Windows => text.get(1..3).is_some_and(|at| at == ":\\" || at == ":/"),
    };
    for (field, hook) in [("jobStarted", &b.hooks.job_started), ("jobCompleted", &b.hooks.job_completed)] {
        let Some(hook) = hook else { continue };
        let field = format!("spec.bootstrap.hooks.{field}");
        if absolute(hook) {
            path(&field, hook, check);
        } else {
            check.fail(&field, "is no absolute path; write where on the instance the script lies, such as /opt/hooks/started.sh");
        }
    }
    let long = b.pre_install.len() + b.post_install.len();
    if long > MOST_SNIPPET {
        let message = format!("preInstall and postInstall are {long} bytes; {MOST_SNIPPET} at most: put more into the image");
        let field = if b.pre_install.is_empty() { "spec.bootstrap.postInstall" } else { "spec.bootstrap.preInstall" };
        check.fail(field, message);
    }
    for (field, url) in [("http", &b.proxy.http), ("https", &b.proxy.https)] {
        if url.as_ref().is_some_and(|url| !is_url(url)) {
            let message = "is no URL without credentials; write the proxy as http://HOST:PORT";
            check.fail(&format!("spec.bootstrap.proxy.{field}"), message);
        }
    }
    for (i, host) in b.proxy.none.iter().enumerate() {
        let host_ok = |c: char| c.is_ascii_alphanumeric() || ".-*:/[]_".contains(c);
        if host.is_empty() || !host.chars().all(host_ok) {
            check.fail(&format!("spec.bootstrap.proxy.none[{i}]"), "is no host; write a name, .domain or address");
        }
    }
}

/// Checks a path. It goes into a script, in quotes, so only characters that paths need are allowed.
fn path(field: &str, text: &str, check: &mut Check<'_>) {
    let ok = |c: char| c.is_ascii_alphanumeric() || "/\\:._-+ @".contains(c);
    if text.trim().is_empty() || text.len() > 255 || !text.chars().all(ok) {
        check.fail(field, "is no path; write 1 to 255 letters, digits, spaces and any of / \\ : . _ - + @");
    }
}
