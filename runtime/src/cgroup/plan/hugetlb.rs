//! `linux.resources.hugepageLimits`: the limit of use, and of reservation where the kernel has it (Linux 5.7).

use oci_spec::runtime::LinuxHugepageLimit;

use super::{Absent, Place, Sink, Write, refused};
use crate::cgroup::Error;

pub(super) fn plan(limits: &[LinuxHugepageLimit], sink: &mut Sink) -> Result<(), Error> {
    for (index, limit) in limits.iter().enumerate() {
        let property = format!("linux.resources.hugepageLimits[{index}].limit");
        let size = limit.page_size();
        if !is_page_size(size) {
            let property = format!("linux.resources.hugepageLimits[{index}].pageSize");
            return Err(refused(property, "it is a size such as `64KB`, `2MB` or `1GB`"));
        }
        let bytes = match limit.limit() {
            ..-1 => return Err(refused(property, "it is neither a number of bytes nor -1 for no limit")),
            bytes => bytes,
        };
        let place = sink.place(&property, "hugetlb", "hugetlb")?;
        let (word, value) = match place {
            Place::V1 => ("limit_in_bytes", bytes.to_string()),
            Place::V2 if bytes == -1 => ("max", "max".to_owned()),
            Place::V2 => ("max", bytes.to_string()),
        };
        sink.write(Write::new(place, "hugetlb", format!("hugetlb.{size}.{word}"), &value, property.clone()));
        let reserved = Write::new(place, "hugetlb", format!("hugetlb.{size}.rsvd.{word}"), &value, property);
        sink.write(reserved.absent(Absent::Fine));
    }
    Ok(())
}

/// The size becomes part of a file's name, so nothing else may stand in it.
fn is_page_size(text: &str) -> bool {
    let digits = text.strip_suffix("KB").or(text.strip_suffix("MB")).or(text.strip_suffix("GB")).unwrap_or("");
    !digits.is_empty() && !digits.starts_with('0') && digits.bytes().all(|byte| byte.is_ascii_digit())
}
