//! Turns `linux.resources` into ordered writes to cgroup files, knowing only which hierarchy has which controller.
//! Nothing is ignored: what this host's cgroups cannot express is refused here, by the name of the property.

mod cpu;
mod hugetlb;
mod io;
mod memory;
mod network;
mod pids;
mod rdma;
mod unified;

use std::borrow::Cow;

use oci_spec::runtime::LinuxResources;

use super::{Error, Host, devices, devices::Rule};
use crate::sys::bpf::Insn;

/// Which of the container's directories a write goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The one in the v1 hierarchy of the write's controller.
    V1,
    /// The one in the unified hierarchy.
    V2,
}

/// What it means if none of a write's files exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absent {
    /// The limit cannot be given: an error.
    Refuse,
    /// The value is what the kernel does without the file.
    Fine,
    /// Nothing is missing as long as this host swaps nowhere.
    FineWithoutSwap,
}

/// One value for one cgroup file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// Which directory.
    pub place: Place,
    /// The controller whose file it is, in the words of `place`.
    pub controller: Cow<'static, str>,
    /// File and value; of several the first file that exists is written.
    pub tries: Vec<(Cow<'static, str>, String)>,
    /// What if none exists.
    pub absent: Absent,
    /// The JSON property it comes from.
    pub property: Cow<'static, str>,
}

/// How access to devices is limited.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum DevicePlan {
    /// Not at all: cgroups are disabled, or this user namespace may not.
    #[default]
    Unlimited,
    /// Lines for `devices.deny` and `devices.allow` of v1, in this order.
    V1(Vec<(&'static str, String)>),
    /// A program for the unified hierarchy (`BPF_PROG_TYPE_CGROUP_DEVICE`).
    V2(Vec<Insn>),
}

/// Whether the kernel would take device rules from this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceControl {
    /// It would; rules are enforced or the container is refused.
    Enforce,
    /// The runtime itself runs in a user namespace, where neither mknod(2) nor a device rule is possible.
    Skip,
}

/// All that is to be written for one container, with no choice left but which of two files exists.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Everything but memory and devices.
    pub writes: Vec<Write>,
    /// Memory limits, kept apart so that they are set when the runtime's own pages are no longer charged.
    pub memory: Vec<Write>,
    /// Bytes; `checkBeforeUpdate` asks that the usage be compared with them before `memory` is written (v2 only).
    pub memory_check: Option<u64>,
    /// Device rules.
    pub devices: DevicePlan,
    /// Controllers of v2 that the writes need in the container's cgroup.
    pub enable: Vec<String>,
    /// Controllers of v2 that are worth having for statistics and OOM counts, if the parent gives them.
    pub wish: Vec<String>,
}

impl Plan {
    /// Whether there is nothing to enforce.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty() && self.memory.is_empty() && self.devices == DevicePlan::Unlimited
    }
}

/// Plans `linux.resources`. Without any, or without `devices`, every device but the usual ones is denied, as runc does.
/// Errors name the JSON property.
pub fn plan(resources: Option<&LinuxResources>, host: &Host, control: DeviceControl) -> Result<Plan, Error> {
    let mut sink = Sink { host, plan: Plan::default() };
    if let Some(resources) = resources {
        sections(resources, &mut sink)?;
    }
    let mut plan = sink.plan;
    let rules = devices::rules(resources.and_then(|resources| resources.devices().as_deref()))?;
    plan.devices = device_plan(&rules, host, control)?;
    if !host.v2_controllers.is_empty() {
        let wish = ["memory", "pids"].into_iter().filter(|word| host.has_v2(word));
        plan.wish = wish.filter(|word| !plan.enable.iter().any(|have| have == word)).map(str::to_owned).collect();
    }
    Ok(plan)
}

/// Raw v2 keys come last: they win over the values derived from the other sections.
fn sections(resources: &LinuxResources, sink: &mut Sink) -> Result<(), Error> {
    if let Some(memory) = resources.memory() {
        memory::plan(memory, sink)?;
    }
    if let Some(cpu) = resources.cpu() {
        cpu::plan(cpu, sink)?;
    }
    if let Some(pids) = resources.pids() {
        pids::plan(pids, sink)?;
    }
    if let Some(block_io) = resources.block_io() {
        io::plan(block_io, sink)?;
    }
    if let Some(limits) = resources.hugepage_limits() {
        hugetlb::plan(limits, sink)?;
    }
    if let Some(network) = resources.network() {
        network::plan(network, sink)?;
    }
    if let Some(rdma) = resources.rdma() {
        rdma::plan(rdma, sink)?;
    }
    match resources.unified() {
        Some(unified) => unified::plan(unified, sink),
        None => Ok(()),
    }
}

fn device_plan(rules: &[Rule], host: &Host, control: DeviceControl) -> Result<DevicePlan, Error> {
    if host.disabled || control == DeviceControl::Skip {
        return Ok(DevicePlan::Unlimited);
    }
    if host.has_v1("devices") {
        return devices::list(rules).map(DevicePlan::V1);
    }
    if host.v2().is_none() {
        return Err(Error::NoController { property: devices::PROPERTY.into(), controller: "devices".into() });
    }
    Ok(devices::program(rules).map_or(DevicePlan::Unlimited, DevicePlan::V2))
}

/// The plan while it is filled.
struct Sink<'a> {
    host: &'a Host,
    plan: Plan,
}

impl Sink<'_> {
    /// Where `controller` lives: its v1 hierarchy, else v2. On v2 it is marked to be enabled.
    fn place(&mut self, property: &str, v1: &str, v2: &str) -> Result<Place, Error> {
        if self.host.disabled {
            return Err(Error::Disabled { property: property.into() });
        }
        if self.host.has_v1(v1) {
            return Ok(Place::V1);
        }
        if !self.host.has_v2(v2) {
            let controller = if self.host.v2().is_some() { v2 } else { v1 };
            return Err(self.host.lacks(property, controller));
        }
        self.enable(v2);
        Ok(Place::V2)
    }

    fn enable(&mut self, controller: &str) {
        if !self.plan.enable.iter().any(|have| have == controller) {
            self.plan.enable.push(controller.into());
        }
    }

    fn write(&mut self, write: Write) {
        self.plan.writes.push(write);
    }

    fn memory(&mut self, write: Write) {
        self.plan.memory.push(write);
    }
}

impl Write {
    fn new(
        place: Place,
        controller: &'static str,
        file: impl Into<Cow<'static, str>>,
        value: impl ToString,
        property: impl Into<Cow<'static, str>>,
    ) -> Write {
        let tries = vec![(file.into(), value.to_string())];
        Write { place, controller: controller.into(), tries, absent: Absent::Refuse, property: property.into() }
    }

    /// Names a second file for kernels that lack the first.
    fn or(mut self, file: &'static str, value: impl ToString) -> Write {
        self.tries.push((file.into(), value.to_string()));
        self
    }

    fn absent(self, absent: Absent) -> Write {
        Write { absent, ..self }
    }
}

fn refused(property: impl Into<String>, reason: &'static str) -> Error {
    Error::Refused { property: property.into(), reason }
}

#[cfg(test)]
mod tests;
