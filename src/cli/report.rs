//! The file of a report. It never replaces a file that was read, and is written as a whole or not at all.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use same_file::is_same_file;
use tempfile::NamedTempFile;

/// Checks that the report can be written, and leaves everything as it is. A report is made last and may take a minute, so a
/// problem with its file must be known first.
///
/// # Errors
///
/// When the report cannot be written, or is one of the `inputs`, by whatever name.
pub(super) fn check(path: &Path, inputs: &[PathBuf]) -> anyhow::Result<()> {
    for input in inputs.iter().filter(|input| path.is_file() && input.is_file()) {
        let same =
            is_same_file(path, input).with_context(|| format!("cannot compare {} with {}", path.display(), input.display()))?;
        ensure!(!same, "the report {} would replace {}, which is read; name another file", path.display(), input.display());
    }
    let try_it = || -> anyhow::Result<()> {
        ensure!(!path.is_dir(), "it is a directory");
        if path.is_file() {
            OpenOptions::new().append(true).open(path)?;
        }
        if !is_special(path) {
            temporary(path)?;
        }
        Ok(())
    };
    try_it().with_context(|| format!("cannot write the report {}; name another file", path.display()))
}

/// Writes the report to a file beside it, which then takes its place. If the run fails, the old report stays, and no other
/// file is left.
///
/// # Errors
/// When it cannot be written.
pub(super) fn write(path: &Path, page: &str) -> anyhow::Result<()> {
    let write = || -> anyhow::Result<()> {
        if is_special(path) {
            return Ok(fs::write(path, page)?);
        }
        let mut file = temporary(path)?;
        file.write_all(page.as_bytes())?;
        if let Ok(old) = fs::metadata(path) {
            file.as_file().set_permissions(old.permissions())?;
        }
        file.persist(target(path))?;
        Ok(())
    };
    write().with_context(|| format!("cannot write the report {}", path.display()))
}

/// A pipe or a device such as `/dev/stdout`. It has nothing to lose, and no other file can take its place.
fn is_special(path: &Path) -> bool {
    path.exists() && !path.is_file()
}

/// The file of the report. A link is followed, so it stays a link.
fn target(path: &Path) -> PathBuf {
    fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}

/// A new file beside the report. It is removed when it is dropped.
fn temporary(path: &Path) -> anyhow::Result<NamedTempFile> {
    let target = target(path);
    let dir = target.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut builder = tempfile::Builder::new();
    builder.prefix(".muster-report-");
    // The umask decides the mode, as for any new file.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder.tempfile_in(dir).with_context(|| format!("no file can be made in {}", dir.display()))
}
