//! On which processors `exec` runs (`process.execCPUAffinity`): until the process is in the container's cgroup, and from then
//! on. The container's own process has none of it (config.md, "Linux Process").

use oci_spec::runtime::ExecCPUAffinity;
use rustix::thread::CpuSet;

use super::{Error, list};

/// The two masks of `sched_setaffinity(2)`; one that is absent leaves the choice to the kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Affinity {
    /// `initial`: of the runtime, and of the process until it is in the cgroup.
    pub initial: Option<CpuSet>,
    /// `final`: of the process once it is there.
    pub last: Option<CpuSet>,
}

/// Reads both lists.
///
/// # Errors
/// One that is no list, or names processor 1024 or above.
pub fn plan(asked: &ExecCPUAffinity) -> Result<Affinity, Error> {
    let mask = |property: &str, text: Option<&String>| -> Result<Option<CpuSet>, Error> {
        let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(None) };
        let numbers = list::parse(text).map_err(|problem| Error::invalid(property, problem))?;
        let mut mask = CpuSet::new();
        numbers.into_iter().filter_map(|number| usize::try_from(number).ok()).for_each(|number| mask.set(number));
        Ok(Some(mask))
    };
    Ok(Affinity {
        initial: mask("process.execCPUAffinity.initial", asked.initial().as_ref())?,
        last: mask("process.execCPUAffinity.final", asked.cpu_affinity_final().as_ref())?,
    })
}

/// Binds this process, and those that it makes, to the processors of `initial`. Call it before the process to be is made.
///
/// # Errors
/// The kernel's refusal (`EINVAL`: none of them is there).
pub fn begin(affinity: &Affinity) -> Result<(), Error> {
    apply(affinity.initial.as_ref(), "process.execCPUAffinity.initial")
}

/// The same with `final`. Call it in the container's cgroup, whose cpuset has the last word.
///
/// # Errors
/// As of [`begin`].
pub fn settle(affinity: &Affinity) -> Result<(), Error> {
    apply(affinity.last.as_ref(), "process.execCPUAffinity.final")
}

fn apply(mask: Option<&CpuSet>, property: &'static str) -> Result<(), Error> {
    let Some(mask) = mask else { return Ok(()) };
    rustix::thread::sched_setaffinity(None, mask).map_err(|errno| Error::Apply {
        property,
        hint: match errno {
            rustix::io::Errno::INVAL => " (none of these processors is online and in the cpuset of the cgroup)",
            _ => "",
        },
        source: errno.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan_of(json: &str) -> Result<Affinity, Error> {
        plan(&serde_json::from_str(json).unwrap())
    }

    #[test]
    fn lists_become_masks() {
        let found = plan_of(r#"{"initial":"0","final":"1-2"}"#).unwrap();
        let last = found.last.unwrap();
        assert_eq!((found.initial.unwrap().count(), last.count(), last.is_set(2)), (1, 2, true));
        assert_eq!(plan_of("{}").unwrap(), Affinity::default());
    }

    #[test]
    fn bad_lists_are_named() {
        let text = plan_of(r#"{"initial":"0","final":"3-1"}"#).unwrap_err().to_string();
        assert!(text.starts_with("`process.execCPUAffinity.final` has the range `3-1`"), "{text}");
        let text = plan_of(r#"{"initial":"4096"}"#).unwrap_err().to_string();
        assert!(text.starts_with("`process.execCPUAffinity.initial` has `4096`"), "{text}");
    }
}
