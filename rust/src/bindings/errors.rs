//! Errors of the crate as the classes of `sd_rbee.errors`.

use pyo3::PyErr;

use crate::error::Error;

mod python {
    pyo3::import_exception!(sd_rbee.errors, ModelNotFoundError);
    pyo3::import_exception!(sd_rbee.errors, CheckpointError);
    pyo3::import_exception!(sd_rbee.errors, InvalidParamsError);
    pyo3::import_exception!(sd_rbee.errors, DeviceError);
    pyo3::import_exception!(sd_rbee.errors, OutOfMemoryError);
    pyo3::import_exception!(sd_rbee.errors, InferenceError);
    pyo3::import_exception!(sd_rbee.errors, Cancelled);
}

impl From<Error> for PyErr {
    fn from(error: Error) -> Self {
        let text = error.to_string();
        match error {
            Error::ModelNotFound(_) => python::ModelNotFoundError::new_err(text),
            Error::Checkpoint(_) => python::CheckpointError::new_err(text),
            Error::InvalidParams { field, given, allowed } => {
                python::InvalidParamsError::new_err((field, given, allowed))
            }
            Error::Device(_) => python::DeviceError::new_err(text),
            Error::OutOfMemory(_) => python::OutOfMemoryError::new_err(text),
            Error::Inference(_) => python::InferenceError::new_err(text),
            Error::Cancelled => python::Cancelled::new_err(text),
        }
    }
}
