//! Pages from templates: a template and what it is given come in, HTML leaves.

use minijinja::{AutoEscape, Environment, UndefinedBehavior};
use serde::Serialize;

use super::written::{decimal, duration, grouped, signed};
use crate::error::{Error, Result};

/// Fills the template of a page. Words are escaped; numbers can be written by the filters of [`super::written`].
///
/// # Errors
/// - [`Error::Page`] if the template asks for what it is not given.
pub(super) fn html(template: &str, view: &impl Serialize) -> Result<String> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    environment.set_trim_blocks(true);
    environment.set_lstrip_blocks(true);
    environment.add_filter("grouped", grouped);
    environment.add_filter("decimal", decimal);
    environment.add_filter("signed", signed);
    environment.add_filter("duration", duration);
    let filled = environment.template_from_named_str("page.html", template).and_then(|page| page.render(view));
    filled.map_err(|e| Error::Page { reason: format!("{e:#}") })
}
