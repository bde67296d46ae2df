//! Look-up of rows.

use candle_core::Tensor;

use crate::error::Result;

/// Takes the rows `ids` of `table` `(vocabulary, hidden)`. Returns `(ids, hidden)`.
///
/// candle's own operation: going back it adds only the rows that were taken, and into the table's gradient itself.
///
/// # Errors
/// Those of the device, and an id outside the table.
pub fn embed(table: &Tensor, ids: &[u32]) -> Result<Tensor> {
    let ids = Tensor::new(ids, table.device())?;
    Ok(table.index_select(&ids, 0)?)
}
