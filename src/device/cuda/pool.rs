//! The driver's memory pool: the counter of live and peak bytes, and the cap.
//!
//! Source: CUDA driver API, "Stream Ordered Memory Allocator". `maxSize` needs CUDA 12.2.
#![expect(unsafe_code, reason = "the pool is reached by the driver's C interface alone")]

use std::ffi::{c_int, c_void};
use std::mem;
use std::ptr;

use candle_core::cuda_backend::cudarc::driver::result::{device, malloc_sync, mem_pool};
use candle_core::cuda_backend::cudarc::driver::sys::{
    CUmemAllocationType, CUmemLocationType, CUmemPool_attribute as Attribute, CUmemPoolProps, CUmemoryPool,
};
use candle_core::cuda_backend::cudarc::driver::{CudaContext, DriverError};

use crate::units::Bytes;

/// The pool all tensors of a card come from. It is never destroyed: tensors may outlive this value,
/// and the process ends with its trial.
#[derive(Debug)]
pub(super) struct Pool(CUmemoryPool);

impl Pool {
    /// Makes a pool the card's current one: its default pool, or one that holds at most `cap`.
    ///
    /// The driver rounds the cap to its granularity, and counts fragments into it. One that knows no cap, before
    /// CUDA 12.2, keeps it by a ballast.
    pub(super) fn install(context: &CudaContext, cap: Option<Bytes>) -> Result<Self, DriverError> {
        let card = context.cu_device();
        let pool = match cap {
            Some(cap) => Self::capped(card, cap).or_else(|_| Self::beside_ballast(context, cap))?,
            None => Self::default_of(card)?,
        };
        // By default every synchronization gives unused memory back to the driver, and the next
        // step pays for getting it again.
        pool.set(Attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD, u64::MAX)?;
        // SAFETY: `card` is a device of a living context, the pool is valid and never destroyed.
        unsafe { device::set_mem_pool(card, pool.0)? };
        Ok(pool)
    }

    /// Not the *current* pool: that may be the capped one of an earlier opening.
    fn default_of(card: c_int) -> Result<Self, DriverError> {
        // SAFETY: `card` is a device of a living context.
        unsafe { device::get_default_mem_pool(card) }.map(Self)
    }

    /// The default pool on a card of which all but `cap` is taken. What others free later is beyond the cap, and what
    /// they take is taken from it.
    fn beside_ballast(context: &CudaContext, cap: Bytes) -> Result<Self, DriverError> {
        let (free, _) = context.mem_get_info()?;
        let ballast = free.saturating_sub(usize::try_from(cap.0).unwrap_or(usize::MAX));
        if ballast > 0 {
            // Outside of every pool, and given back by the end of the process alone.
            // SAFETY: the context is current, and nobody reads or writes the block.
            unsafe { malloc_sync(ballast)? };
        }
        Self::default_of(context.cu_device())
    }

    fn capped(card: c_int, cap: Bytes) -> Result<Self, DriverError> {
        // SAFETY: a C structure of integers, enumerations with a zero variant and a pointer that
        // may be null; the driver demands that unused fields are zero.
        let mut properties: CUmemPoolProps = unsafe { mem::zeroed() };
        properties.allocType = CUmemAllocationType::CU_MEM_ALLOCATION_TYPE_PINNED;
        properties.location.type_ = CUmemLocationType::CU_MEM_LOCATION_TYPE_DEVICE;
        properties.maxSize = usize::try_from(cap.0).unwrap_or(usize::MAX);
        // The bindings call the second field `id` up to CUDA 13.1 and make it a union that begins
        // with `id` from 13.2 on; in memory it is the integer after the type either way.
        // SAFETY: the structure is `repr(C)`, and both of its fields are four bytes wide.
        unsafe { (&raw mut properties.location).cast::<c_int>().add(1).write(card) };
        // SAFETY: the structure is valid and outlives the call.
        unsafe { mem_pool::create(&raw const properties) }.map(Self)
    }

    /// Reads a number of bytes.
    pub(super) fn get(&self, attribute: Attribute) -> Result<u64, DriverError> {
        let mut value = 0u64;
        // SAFETY: the pool is valid, and all memory attributes are 64 bits wide.
        unsafe { mem_pool::get_attribute(self.0, attribute, ptr::from_mut(&mut value).cast::<c_void>())? };
        Ok(value)
    }

    /// Writes a number of bytes.
    pub(super) fn set(&self, attribute: Attribute, mut value: u64) -> Result<(), DriverError> {
        // SAFETY: the pool is valid, and all memory attributes are 64 bits wide.
        unsafe { mem_pool::set_attribute(self.0, attribute, ptr::from_mut(&mut value).cast::<c_void>()) }
    }
}
