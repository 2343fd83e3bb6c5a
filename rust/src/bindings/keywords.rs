//! Keyword arguments as Python gives them.

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::schedulers::SchedulerOptions;

/// Keyword arguments that are taken out one by one, so that what is left is what nobody knows.
pub struct Keywords<'py>(Bound<'py, PyDict>);

impl<'py> Keywords<'py> {
    /// The keyword arguments of a call.
    pub fn new(py: Python<'py>, given: Option<&Bound<'py, PyDict>>) -> PyResult<Self> {
        Ok(Self(given.map_or_else(|| Ok(PyDict::new(py)), |given| given.copy())?))
    }

    /// One of them; nothing for None.
    pub fn take<T: for<'a> FromPyObject<'a, 'py, Error = PyErr>>(&self, name: &'static str) -> PyResult<Option<T>> {
        self.take_with(name, |_, value| value.extract())
    }

    /// One of them, read by `read`, which its errors name; nothing for None.
    pub fn take_with<T>(
        &self,
        name: &'static str,
        read: impl FnOnce(&'static str, &Bound<'py, PyAny>) -> PyResult<T>,
    ) -> PyResult<Option<T>> {
        let Some(value) = self.0.get_item(name)? else { return Ok(None) };
        self.0.del_item(name)?;
        if value.is_none() { Ok(None) } else { read(name, &value).map(Some) }
    }

    /// Those of a schedule.
    pub fn scheduler_options(&self) -> PyResult<SchedulerOptions> {
        let spacing: Option<String> = self.take("timestep_spacing")?;
        Ok(SchedulerOptions {
            eta: self.take("eta")?.unwrap_or(0.0),
            timestep_spacing: spacing.as_deref().map(str::parse).transpose()?,
            use_karras_sigmas: self.take("use_karras_sigmas")?,
            use_exponential_sigmas: self.take("use_exponential_sigmas")?,
            use_beta_sigmas: self.take("use_beta_sigmas")?,
            rescale_betas_zero_snr: self.take("rescale_betas_zero_snr")?,
        })
    }

    /// Refuses what was not taken.
    pub fn finish(&self) -> PyResult<()> {
        match self.0.keys().iter().next() {
            Some(name) => Err(PyTypeError::new_err(format!("unexpected keyword argument {}", name.repr()?))),
            None => Ok(()),
        }
    }
}
