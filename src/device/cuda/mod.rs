//! An NVIDIA card as a device: memory counted and capped by the driver's pool.
//!
//! candle keeps no cache of its own and allocates with `cuMemAllocAsync`, that is from the current
//! pool of the device; so the pool knows every tensor. It does not know the context of the driver
//! (a few hundred MiB) and the workspaces cuBLAS gets by itself.

#[cfg(feature = "nccl")]
pub(super) mod nccl;
mod pool;
pub(super) mod refusal;

use std::fmt::Display;
use std::sync::Arc;

use candle_core::backend::BackendDevice;
use candle_core::cuda_backend::cudarc::driver::result::{self, device};
use candle_core::cuda_backend::cudarc::driver::sys::CUmemPool_attribute as Attribute;
use candle_core::cuda_backend::cudarc::driver::sys::CUuuid;
use candle_core::cuda_backend::cudarc::driver::{CudaContext, DriverError};

use self::pool::Pool;
use super::nvml::{self, CardFacts, Meter};
use super::{Device, DeviceError, Facts};
use crate::space::{CardName, Precision};
use crate::trial::Power;
use crate::units::Bytes;

/// One card, with all its memory or a cap below it.
#[derive(Debug)]
pub(super) struct Cuda {
    card: CardName,
    cap: Option<Bytes>,
    context: Arc<CudaContext>,
    pool: Pool,
    candle: candle_core::Device,
    /// What NVML calls the card too; none where the driver does not tell.
    uuid: Option<String>,
    overhead: Option<Bytes>,
    meter: Option<Meter>,
}

impl Cuda {
    /// Opens the card and makes its pool the current one before the first tensor exists.
    pub(super) fn open(card: CardName, cap: Option<Bytes>) -> Result<Self, DeviceError> {
        let error = |reason: &dyn Display| DeviceError::Open { card, reason: reason.to_string() };
        let index = index_of(card).map_err(|reason| error(&reason))?;
        // Only NVML can tell what is free on a card on which this process has no context yet.
        let before = nvml::free(card);
        let context = CudaContext::new(index).map_err(|reason| error(&reason))?;
        if !context.has_async_alloc() {
            return Err(error(&"the card or its driver has no memory pools, so memory can't be measured"));
        }
        let pool = Pool::install(&context, cap).map_err(|reason| error(&reason))?;
        let candle = candle_core::CudaDevice::new(index).map_err(|reason| error(&reason))?;
        let uuid = context.uuid().ok().map(|uuid| name_of(uuid).to_string());
        let meter = uuid.as_deref().map(|uuid| Meter::start(None, uuid, nvml::PACE));
        // The kernels and the handle of cuBLAS are there now, and no tensor is.
        let after = context.mem_get_info().ok().map(|(free, _)| Bytes(free as u64));
        let overhead = before.zip(after).map(|(before, after)| before.saturating_sub(after));
        Ok(Self {
            card,
            cap,
            context,
            pool,
            candle: candle_core::Device::Cuda(candle),
            uuid,
            overhead,
            meter,
        })
    }

    fn error(&self, call: &'static str, reason: &dyn Display) -> DeviceError {
        DeviceError::Call { device: format!("cuda:{}", self.card), call, reason: reason.to_string() }
    }

    fn read(&self, call: &'static str, attribute: Attribute) -> Result<Bytes, DeviceError> {
        self.pool.get(attribute).map(Bytes).map_err(|reason| self.error(call, &reason))
    }

    fn card_facts(&self) -> Result<CardFacts, String> {
        let uuid = self.uuid.as_deref().ok_or("the driver does not tell which card it is")?;
        let cards = nvml::cards(None).map_err(|absence| absence.to_string())?;
        let same = |card: &CardFacts| card.uuid.as_deref() == Some(uuid);
        cards.into_iter().find(same).ok_or_else(|| format!("NVML lists no card {uuid}; is it a MIG slice?"))
    }
}

impl Device for Cuda {
    fn describe(&self) -> String {
        let name = self.context.name().unwrap_or_else(|_| "unknown card".to_owned());
        let total = self.total().map(|total| format!(", {total}")).unwrap_or_default();
        format!("cuda:{}: {name}{total}", self.card)
    }

    fn candle(&self) -> &candle_core::Device {
        &self.candle
    }

    fn total(&self) -> Option<Bytes> {
        self.context.mem_get_info().ok().map(|(_, total)| Bytes(total as u64))
    }

    fn free(&self) -> Option<Bytes> {
        self.context.mem_get_info().ok().map(|(free, _)| Bytes(free as u64))
    }

    fn cap(&self) -> Option<Bytes> {
        self.cap
    }

    /// What is still to be freed by work in flight counts as alive: synchronize first.
    fn live(&self) -> Result<Bytes, DeviceError> {
        self.read("bytes in use", Attribute::CU_MEMPOOL_ATTR_USED_MEM_CURRENT)
    }

    fn peak(&self) -> Result<Bytes, DeviceError> {
        self.read("most bytes in use", Attribute::CU_MEMPOOL_ATTR_USED_MEM_HIGH)
    }

    fn reserved_peak(&self) -> Result<Option<Bytes>, DeviceError> {
        self.read("most bytes reserved", Attribute::CU_MEMPOOL_ATTR_RESERVED_MEM_HIGH).map(Some)
    }

    fn overhead(&self) -> Option<Bytes> {
        self.overhead
    }

    fn reset_peak(&self) -> Result<(), DeviceError> {
        // Zero is the one value the driver takes here; it means "from what is in use now".
        let used = self.pool.set(Attribute::CU_MEMPOOL_ATTR_USED_MEM_HIGH, 0);
        let reset = used.and_then(|()| self.pool.set(Attribute::CU_MEMPOOL_ATTR_RESERVED_MEM_HIGH, 0));
        reset.map_err(|reason| self.error("reset of the peaks", &reason))
    }

    fn synchronize(&self) -> Result<(), DeviceError> {
        self.candle.synchronize().map_err(|reason| self.error("synchronize", &reason))
    }

    fn check_precision(&self, precision: Precision) -> Result<(), DeviceError> {
        let told = self.context.compute_capability();
        let capability = told.map_err(|reason| self.error("compute capability", &reason))?;
        super::precision::check(&format!("cuda:{}", self.card), precision, capability)
    }

    fn power(&self) -> Option<Power> {
        self.meter.as_ref()?.read()
    }

    fn facts(&self) -> Facts {
        match self.card_facts() {
            Ok(card) => Facts::Card(Box::new(card)),
            Err(reason) => Facts::Unknown { reason },
        }
    }
}

/// The place of a card among those that are visible.
fn index_of(card: CardName) -> Result<usize, String> {
    let named = match card {
        CardName::Index(index) => return Ok(index),
        CardName::Uuid { bits, .. } => bits,
    };
    let told = |reason: DriverError| reason.to_string();
    result::init().map_err(told)?;
    for index in 0..device::get_count().map_err(told)? {
        let uuid = device::get(index).and_then(device::get_uuid).map_err(told)?;
        if matches!(name_of(uuid), CardName::Uuid { bits, .. } if bits == named) {
            return usize::try_from(index).map_err(|error| error.to_string());
        }
    }
    Err("no visible card has this identity".to_owned())
}

fn name_of(uuid: CUuuid) -> CardName {
    CardName::of_bytes(uuid.bytes.map(|byte| byte.to_ne_bytes()[0]))
}
