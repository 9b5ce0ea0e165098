//! This process's pipes as files of their own, where systems differ in how to have one.

use std::fs::File;
use std::io;

#[cfg(unix)]
pub(crate) fn pipes() -> io::Result<(File, File)> {
    use std::os::fd::AsFd as _;
    let input = io::stdin().as_fd().try_clone_to_owned()?.into();
    let output = io::stdout().as_fd().try_clone_to_owned()?.into();
    Ok((input, output))
}

#[cfg(windows)]
pub(crate) fn pipes() -> io::Result<(File, File)> {
    use std::os::windows::io::AsHandle as _;
    let input = io::stdin().as_handle().try_clone_to_owned()?.into();
    let output = io::stdout().as_handle().try_clone_to_owned()?.into();
    Ok((input, output))
}
