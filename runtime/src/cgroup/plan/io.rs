//! `linux.resources.blockIO`: weights and throttles, `blkio` on v1 and `io` on v2.

use oci_spec::runtime::{LinuxBlockIo, LinuxThrottleDevice, LinuxWeightDevice};

use super::{Place, Sink, Write, refused};
use crate::cgroup::Error;

const WEIGHT: &str = "linux.resources.blockIO.weight";
const LEAF_WEIGHT: &str = "linux.resources.blockIO.leafWeight";
const WEIGHT_DEVICE: &str = "linux.resources.blockIO.weightDevice";

/// Property, file of v1, key of `io.max` on v2.
type Throttle = (&'static str, &'static str, &'static str);
const READ_BPS: Throttle = ("linux.resources.blockIO.throttleReadBpsDevice", "blkio.throttle.read_bps_device", "rbps");
const WRITE_BPS: Throttle =
    ("linux.resources.blockIO.throttleWriteBpsDevice", "blkio.throttle.write_bps_device", "wbps");
const READ_IOPS: Throttle =
    ("linux.resources.blockIO.throttleReadIOPSDevice", "blkio.throttle.read_iops_device", "riops");
const WRITE_IOPS: Throttle =
    ("linux.resources.blockIO.throttleWriteIOPSDevice", "blkio.throttle.write_iops_device", "wiops");

pub(super) fn plan(block_io: &LinuxBlockIo, sink: &mut Sink) -> Result<(), Error> {
    if let Some(value) = checked(block_io.weight(), WEIGHT)? {
        weight(value, sink)?;
    }
    if let Some(value) = checked(block_io.leaf_weight(), LEAF_WEIGHT)? {
        let place = leaf_place(LEAF_WEIGHT, sink)?;
        sink.write(Write::new(place, "blkio", "blkio.leaf_weight", value, LEAF_WEIGHT));
    }
    for (index, device) in block_io.weight_device().iter().flatten().enumerate() {
        weight_device(index, device, sink)?;
    }
    throttle(block_io.throttle_read_bps_device(), READ_BPS, sink)?;
    throttle(block_io.throttle_write_bps_device(), WRITE_BPS, sink)?;
    throttle(block_io.throttle_read_iops_device(), READ_IOPS, sink)?;
    throttle(block_io.throttle_write_iops_device(), WRITE_IOPS, sink)
}

/// Zero means unset, as in runc.
fn checked(weight: Option<u16>, property: &str) -> Result<Option<u16>, Error> {
    match weight {
        None | Some(0) => Ok(None),
        Some(10..=1000) => Ok(weight),
        Some(_) => Err(refused(property, "it is a number from 10 to 1000")),
    }
}

fn leaf_place(property: &str, sink: &mut Sink) -> Result<Place, Error> {
    match sink.place(property, "blkio", "io")? {
        Place::V1 => Ok(Place::V1),
        Place::V2 => Err(refused(property, "cgroup v2 has no leaf weights; remove it")),
    }
}

/// CFQ (`blkio.weight`) went with Linux 5.0; BFQ has its own file in both versions, and io.weight its own scale.
fn weight(value: u16, sink: &mut Sink) -> Result<(), Error> {
    let write = match sink.place(WEIGHT, "blkio", "io")? {
        Place::V1 => Write::new(Place::V1, "blkio", "blkio.weight", value, WEIGHT).or("blkio.bfq.weight", value),
        Place::V2 => Write::new(Place::V2, "io", "io.bfq.weight", value, WEIGHT).or("io.weight", io_weight(value)),
    };
    sink.write(write);
    Ok(())
}

fn weight_device(index: usize, device: &LinuxWeightDevice, sink: &mut Sink) -> Result<(), Error> {
    let at = |field: &str| format!("{WEIGHT_DEVICE}[{index}].{field}");
    let number = format!("{}:{}", device.major(), device.minor());
    if let Some(value) = checked(device.weight(), &at("weight"))? {
        let line = format!("{number} {value}");
        let write = match sink.place(&at("weight"), "blkio", "io")? {
            Place::V1 => Write::new(Place::V1, "blkio", "blkio.weight_device", &line, at("weight"))
                .or("blkio.bfq.weight_device", &line),
            Place::V2 => Write::new(Place::V2, "io", "io.bfq.weight", &line, at("weight"))
                .or("io.weight", format!("{number} {}", io_weight(value))),
        };
        sink.write(write);
    }
    if let Some(value) = checked(device.leaf_weight(), &at("leafWeight"))? {
        let place = leaf_place(&at("leafWeight"), sink)?;
        let line = format!("{number} {value}");
        sink.write(Write::new(place, "blkio", "blkio.leaf_weight_device", line, at("leafWeight")));
    }
    Ok(())
}

/// A rate of zero lifts the limit on v1; v2 has a word for that.
fn throttle(list: &Option<Vec<LinuxThrottleDevice>>, names: Throttle, sink: &mut Sink) -> Result<(), Error> {
    let (property, file, key) = names;
    for (index, device) in list.iter().flatten().enumerate() {
        let property = format!("{property}[{index}].rate");
        let (major, minor, rate) = (device.major(), device.minor(), device.rate());
        let write = match sink.place(&property, "blkio", "io")? {
            Place::V1 => Write::new(Place::V1, "blkio", file, format!("{major}:{minor} {rate}"), property),
            Place::V2 if rate == 0 => {
                Write::new(Place::V2, "io", "io.max", format!("{major}:{minor} {key}=max"), property)
            }
            Place::V2 => Write::new(Place::V2, "io", "io.max", format!("{major}:{minor} {key}={rate}"), property),
        };
        sink.write(write);
    }
    Ok(())
}

/// Weights from 10 to 1000 become 1 to 10000, by runc's line.
fn io_weight(weight: u16) -> u64 {
    1 + (u64::from(weight) - 10) * 9999 / 990
}
