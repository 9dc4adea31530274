//! execve(2) with everything that it takes prepared beforehand: between the loading of a system call filter and the exec nothing
//! may be allocated, because a filter need not allow the calls that this takes.

use std::ffi::{CStr, CString, c_char};
use std::io;

/// A program that is only to be begun.
pub struct Execution<'a> {
    file: &'a CStr,
    arguments: Vec<*const c_char>,
    environment: Vec<*const c_char>,
}

impl<'a> Execution<'a> {
    /// `file` is executed as it is, without a search.
    #[must_use]
    pub fn new(file: &'a CStr, arguments: &'a [CString], environment: &'a [CString]) -> Self {
        let pointers =
            |texts: &'a [CString]| texts.iter().map(|text| text.as_ptr()).chain([std::ptr::null()]).collect();
        Self { file, arguments: pointers(arguments), environment: pointers(environment) }
    }

    /// Becomes the program. Returns only to say why not.
    #[must_use]
    pub fn begin(&self) -> io::Error {
        // SAFETY: the file's name ends in NUL, and both arrays are of such texts, which live as long as `self` ('a), with a null
        // pointer at the end.
        unsafe { libc::execve(self.file.as_ptr(), self.arguments.as_ptr(), self.environment.as_ptr()) };
        io::Error::last_os_error()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_end_with_nothing() {
        let (file, words) = (c"/nowhere", [c"a".to_owned(), c"b".to_owned()]);
        let execution = Execution::new(file, &words, &[]);
        assert_eq!((execution.arguments.len(), execution.environment.len()), (3, 1));
        assert!(execution.arguments[2].is_null() && execution.environment[0].is_null());
        assert_eq!(execution.begin().raw_os_error(), Some(libc::ENOENT));
    }
}
