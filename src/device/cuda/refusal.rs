//! Which errors of CUDA mean that the card has no memory left.

use std::error::Error;

use candle_core::cuda_backend::CudaError;
use candle_core::cuda_backend::cudarc::cublas::result::CublasError;
use candle_core::cuda_backend::cudarc::cublas::sys::cublasStatus_t::CUBLAS_STATUS_ALLOC_FAILED;
use candle_core::cuda_backend::cudarc::curand::result::CurandError;
use candle_core::cuda_backend::cudarc::curand::sys::curandStatus_t::CURAND_STATUS_ALLOCATION_FAILED;
use candle_core::cuda_backend::cudarc::driver::DriverError;
use candle_core::cuda_backend::cudarc::driver::sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY;

/// Whether the driver, or a library that asked it, was refused memory.
pub(in crate::device) fn refused_memory(cause: &(dyn Error + Send + Sync + 'static)) -> bool {
    matches!(
        cause.downcast_ref(),
        Some(
            CudaError::Cuda(DriverError(CUDA_ERROR_OUT_OF_MEMORY))
                | CudaError::Load { cuda: DriverError(CUDA_ERROR_OUT_OF_MEMORY), .. }
                | CudaError::Cublas(CublasError(CUBLAS_STATUS_ALLOC_FAILED))
                | CudaError::Curand(CurandError(CURAND_STATUS_ALLOCATION_FAILED))
        )
    )
}

/// Errors as candle makes them; the tests of `is_out_of_memory` wrap and judge them.
#[cfg(test)]
pub(in crate::device) mod tests {
    use candle_core::cuda_backend::cudarc::cublas::sys::cublasStatus_t::CUBLAS_STATUS_NOT_INITIALIZED;
    use candle_core::cuda_backend::cudarc::driver::sys::CUresult::CUDA_ERROR_ILLEGAL_ADDRESS;

    use super::*;

    pub(in crate::device) fn refusals() -> Vec<candle_core::Error> {
        let driver = DriverError(CUDA_ERROR_OUT_OF_MEMORY);
        vec![
            CudaError::from(driver).into(),
            CudaError::Load { cuda: driver, module_name: "affine".to_owned() }.into(),
            CudaError::from(CublasError(CUBLAS_STATUS_ALLOC_FAILED)).into(),
            CudaError::from(CurandError(CURAND_STATUS_ALLOCATION_FAILED)).into(),
        ]
    }

    pub(in crate::device) fn other_errors() -> Vec<candle_core::Error> {
        vec![
            CudaError::from(DriverError(CUDA_ERROR_ILLEGAL_ADDRESS)).into(),
            CudaError::from(CublasError(CUBLAS_STATUS_NOT_INITIALIZED)).into(),
            CudaError::InternalError("CUDA_ERROR_OUT_OF_MEMORY").into(),
        ]
    }
}
