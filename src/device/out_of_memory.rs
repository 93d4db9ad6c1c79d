//! The one place that tells "out of memory" from every other error of the tensor library.

use candle_core::Error;

/// Whether a device refused memory, under whatever context the error was wrapped in.
///
/// Always false for the processor: there the allocator itself has the last word, see
/// [`allocator::arm_last_word`](super::allocator::arm_last_word).
#[must_use]
pub fn is_out_of_memory(error: &Error) -> bool {
    match innermost(error) {
        #[cfg(feature = "cuda")]
        Error::Cuda(cause) => super::cuda::refusal::refused_memory(cause.as_ref()),
        _ => false,
    }
}

/// Takes off backtraces, paths and contexts.
fn innermost(error: &Error) -> &Error {
    match error {
        Error::WithBacktrace { inner, .. } | Error::Context { inner, .. } | Error::WithPath { inner, .. } => {
            innermost(inner)
        }
        // What `candle_core::Context::context` makes of an error of candle's own.
        Error::WrappedContext { wrapped, .. } => wrapped.downcast_ref().map_or(error, innermost),
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Context, Tensor};

    use super::*;

    fn wrapped(error: Error) -> Error {
        let backtrace = Box::new(std::backtrace::Backtrace::disabled());
        let error = Error::WithBacktrace { inner: Box::new(error), backtrace };
        let error = error.context("layer 3").with_path("model.safetensors");
        Err::<(), _>(error).context("forward").unwrap_err()
    }

    #[test]
    fn the_cause_is_found_below_any_wrapping() {
        let error = wrapped(Error::UnwrapNone);
        assert!(matches!(innermost(&error), Error::UnwrapNone), "{error:?}");
    }

    #[test]
    fn an_error_on_the_processor_is_not_out_of_memory() {
        let tensor = Tensor::zeros((2, 3), candle_core::DType::F32, &candle_core::Device::Cpu).unwrap();
        let error = tensor.matmul(&tensor).unwrap_err();
        assert!(!is_out_of_memory(&error));
        assert!(!is_out_of_memory(&wrapped(error)));
        assert!(!is_out_of_memory(&Error::msg("CUDA_ERROR_OUT_OF_MEMORY")));
    }

    #[cfg(feature = "cuda")]
    #[test]
    fn a_refusal_of_the_driver_or_of_its_libraries_is_out_of_memory() {
        for error in crate::device::cuda::refusal::tests::refusals() {
            let text = format!("{error:?}");
            assert!(is_out_of_memory(&error), "{text}");
            assert!(is_out_of_memory(&wrapped(error)), "{text}");
        }
    }

    #[cfg(feature = "cuda")]
    #[test]
    fn another_error_of_the_driver_is_not_out_of_memory() {
        for error in crate::device::cuda::refusal::tests::other_errors() {
            assert!(!is_out_of_memory(&error), "{error:?}");
        }
    }
}
