//! Directories that stay.

use std::fs::{DirBuilder, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

/// Makes a directory for this user only, and those above it, unless they are there; then it is there after every power loss.
///
/// Each one is synced into the one above it before anything is made in it: a directory that is found was made by someone who had
/// done that for those above it. Its own entry is synced every time, because whoever made it may have been killed first.
///
/// # Errors
/// It can't be made, or not be made durable.
pub fn make_directory(place: &Path) -> io::Result<()> {
    let above = match place.parent() {
        None => return Ok(()),
        Some(above) if above.as_os_str().is_empty() => Path::new("."),
        Some(above) => above,
    };
    let is_new = !place.is_dir();
    if is_new {
        make_directory(above)?;
        match DirBuilder::new().mode(0o700).create(place) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists && place.is_dir() => {}
            made => made?,
        }
    }
    match File::open(above).and_then(|above| above.sync_all()) {
        // Where nothing can be made, or not by us, nothing was made by us.
        Err(error) if !is_new && is_not_ours(error.kind()) => Ok(()),
        synced => synced,
    }
}

const fn is_not_ours(kind: ErrorKind) -> bool {
    use ErrorKind::{InvalidInput, PermissionDenied, ReadOnlyFilesystem, Unsupported};
    matches!(kind, PermissionDenied | ReadOnlyFilesystem | InvalidInput | Unsupported)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn all_that_is_missing_is_made_for_this_user_only_and_what_is_there_stays() {
        let place = tempfile::tempdir().expect("a directory");
        let deep = place.path().join("a/b");
        for _ in 0..2 {
            make_directory(&deep).expect("room");
        }
        for made in [&deep, &place.path().join("a")] {
            assert_eq!(made.metadata().expect("there").permissions().mode() & 0o777, 0o700);
        }
        make_directory(Path::new("/")).expect("there");
        make_directory(Path::new(".")).expect("there");
        std::fs::write(place.path().join("file"), "").expect("room");
        let refused = [place.path().join("file"), place.path().join("file/below")];
        assert!(refused.iter().all(|place| make_directory(place).is_err()));
    }
}
