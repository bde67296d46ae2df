//! The only file that calls FAISS: a safe wrapper over the few C functions an index needs.
//!
//! FAISS uses OpenMP inside one call; Noso parallelises over documents instead, so every search here runs single-threaded, and
//! so does a build unless told otherwise. That also makes a build reproducible: FAISS adds to a graph in row order.

use std::{
    cell::Cell,
    ffi::{CStr, CString, c_void},
    path::Path,
    ptr::null_mut,
};

use faiss_sys as sys;

use crate::error::{Error, Result, check_finite};

/// How near two vectors are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Metric {
    /// Inner product: higher is nearer; a cosine for vectors of unit length.
    Ip,
    /// Squared Euclidean distance: lower is nearer.
    L2,
}

/// An index in FAISS's memory.
pub(super) struct FaissIndex {
    raw: *mut sys::FaissIndex,
    dim: usize,
}

// SAFETY: FAISS indexes may move between threads, and searching one from several threads at once is documented as safe for
// CPU indexes as long as none changes it; every changing method here takes `&mut self`.
unsafe impl Send for FaissIndex {}
// SAFETY: as above.
unsafe impl Sync for FaissIndex {}

unsafe extern "C" {
    /// From libgomp, which FAISS links: threads of the calling thread's next parallel regions.
    fn omp_set_num_threads(threads: std::ffi::c_int);
}

impl FaissIndex {
    /// Makes an empty index from a FAISS factory string such as `HNSW8,SQ8`.
    pub(super) fn new(dim: usize, factory: &str, metric: Metric) -> Result<Self> {
        available()?;
        let description = CString::new(factory).map_err(|_| Error::Faiss("factory string holds a NUL byte".into()))?;
        let dim_c = i32::try_from(dim).map_err(|_| Error::Faiss(format!("{dim} dimensions are too many")))?;
        let metric = match metric {
            Metric::Ip => sys::FaissMetricType_METRIC_INNER_PRODUCT,
            Metric::L2 => sys::FaissMetricType_METRIC_L2,
        };
        let mut raw = null_mut();
        // SAFETY: `description` outlives the call, which writes a new index or nothing into `raw`.
        check(unsafe { sys::faiss_index_factory(&mut raw, dim_c, description.as_ptr(), metric) })?;
        Ok(Self { raw, dim })
    }

    /// Tells whether the kind learns nothing from vectors, or has done so.
    pub(super) fn is_trained(&self) -> bool {
        // SAFETY: `raw` is a live index.
        unsafe { sys::faiss_Index_is_trained(self.raw) != 0 }
    }

    /// Learns clusters and ranges from `vectors`, row-major `(n, dim)`.
    pub(super) fn train(&mut self, vectors: &[f32], threads: u16) -> Result<()> {
        let rows = self.rows(vectors)?;
        use_threads(threads);
        // SAFETY: `vectors` holds `rows * dim` floats, which the call reads.
        check(unsafe { sys::faiss_Index_train(self.raw, rows as i64, vectors.as_ptr()) })
    }

    /// Adds `vectors`, row-major `(n, dim)`; rows are numbered in the order they come, from 0.
    pub(super) fn add(&mut self, vectors: &[f32], threads: u16) -> Result<()> {
        let rows = self.rows(vectors)?;
        use_threads(threads);
        // SAFETY: `vectors` holds `rows * dim` floats, which the call copies.
        check(unsafe { sys::faiss_Index_add(self.raw, rows as i64, vectors.as_ptr()) })
    }

    /// Counts the rows of `vectors`; refuses a torn one, and one that is not finite, which would send a graph search round in circles.
    fn rows(&self, vectors: &[f32]) -> Result<usize> {
        if self.dim == 0 || !vectors.len().is_multiple_of(self.dim) {
            return Err(Error::Dimension { expected: self.dim, got: vectors.len() });
        }
        check_finite("what encodes for the index", vectors)?;
        Ok(vectors.len() / self.dim)
    }

    /// Sets a search parameter by FAISS's name for it, such as `efSearch` or `nprobe`.
    pub(super) fn set_parameter(&mut self, name: &str, value: f64) -> Result<()> {
        let name_c = CString::new(name).map_err(|_| Error::Faiss("parameter name holds a NUL byte".into()))?;
        let mut space = null_mut();
        // SAFETY: `space` is written by the first call, used by the second and freed once by the third.
        unsafe {
            check(sys::faiss_ParameterSpace_new(&mut space))?;
            let outcome = check(sys::faiss_ParameterSpace_set_index_parameter(space, self.raw, name_c.as_ptr(), value));
            sys::faiss_ParameterSpace_free(space);
            outcome
        }
    }

    /// Returns the number of rows.
    pub(super) fn len(&self) -> usize {
        // SAFETY: `raw` is a live index.
        usize::try_from(unsafe { sys::faiss_Index_ntotal(self.raw) }).unwrap_or(0)
    }

    /// Finds the `k` nearest rows of each of `queries`, row-major `(n, dim)`: `(n, k)` scores and rows, −1 where there are fewer.
    pub(super) fn search(&self, queries: &[f32], k: usize) -> Result<(Vec<f32>, Vec<i64>)> {
        let n = self.rows(queries)?;
        let (mut scores, mut rows) = (vec![0.0; n * k], vec![-1; n * k]);
        if n == 0 || k == 0 {
            return Ok((scores, rows));
        }
        use_threads(1);
        let outcome = {
            // SAFETY: `queries` holds `n * dim` floats, `scores` and `rows` have room for `n * k`.
            unsafe {
                sys::faiss_Index_search(
                    self.raw,
                    n as i64,
                    queries.as_ptr(),
                    k as i64,
                    scores.as_mut_ptr(),
                    rows.as_mut_ptr(),
                )
            }
        };
        check(outcome)?;
        Ok((scores, rows))
    }

    /// Writes the index in FAISS's own file format, straight from its memory.
    pub(super) fn write(&self, path: &Path) -> Result<()> {
        let path = c_path(path)?;
        // SAFETY: `path` outlives the call, `raw` is a live index.
        check(unsafe { sys::faiss_write_index_fname(self.raw, path.as_ptr()) })
    }

    /// Reads a file of [`FaissIndex::write`] without holding it in memory a second time.
    pub(super) fn read(path: &Path) -> Result<Self> {
        available()?;
        let (path, mut raw) = (c_path(path)?, null_mut());
        // SAFETY: `path` outlives the call, which writes a new index or nothing into `raw`.
        check(unsafe { sys::faiss_read_index_fname(path.as_ptr(), 0, &mut raw) })?;
        Ok(Self::from_raw(raw))
    }

    /// `raw` is a live index that nobody else frees.
    fn from_raw(raw: *mut sys::FaissIndex) -> Self {
        // SAFETY: as the caller promises.
        let dim = usize::try_from(unsafe { sys::faiss_Index_d(raw) }).unwrap_or(0);
        Self { raw, dim }
    }

    /// Reads an index in FAISS's own file format.
    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self> {
        available()?;
        SOURCE.set((bytes.as_ptr(), bytes.len()));
        let (mut reader, mut raw) = (null_mut(), null_mut());
        // SAFETY: the reader calls `read_source` on this thread only, during the second call, while `bytes` lives.
        let outcome = unsafe {
            check(sys::faiss_CustomIOReader_new(&mut reader, Some(read_source)))?;
            let outcome = check(sys::faiss_read_index_custom(reader.cast(), 0, &mut raw));
            sys::faiss_CustomIOReader_free(reader);
            outcome
        };
        SOURCE.set((std::ptr::null(), 0));
        // A successful read left a live index in `raw`.
        outcome.map(|()| Self::from_raw(raw))
    }

    /// Returns the metric; `None` for one that Noso does not use.
    pub(super) fn metric(&self) -> Option<Metric> {
        // SAFETY: `raw` is a live index.
        match unsafe { sys::faiss_Index_metric_type(self.raw) } {
            sys::FaissMetricType_METRIC_INNER_PRODUCT => Some(Metric::Ip),
            sys::FaissMetricType_METRIC_L2 => Some(Metric::L2),
            _ => None,
        }
    }

    /// Returns the number of dimensions.
    pub(super) fn dim(&self) -> usize {
        self.dim
    }
}

impl Drop for FaissIndex {
    fn drop(&mut self) {
        // SAFETY: `raw` is a live index that nobody else frees.
        unsafe { sys::faiss_Index_free(self.raw) }
    }
}

thread_local! {
    /// What `read_source` has still to give, address and length in bytes: FAISS's callbacks carry no pointer of the caller's.
    static SOURCE: Cell<(*const u8, usize)> = const { Cell::new((std::ptr::null(), 0)) };
}

unsafe extern "C" fn read_source(data: *mut c_void, size: usize, items: usize) -> usize {
    let (source, left) = SOURCE.get();
    if size == 0 {
        return 0;
    }
    let given = items.min(left / size);
    // SAFETY: `data` has room for `items` items of `size` bytes, `source` has `left` bytes, and the two do not overlap.
    unsafe {
        std::ptr::copy_nonoverlapping(source, data.cast::<u8>(), given * size);
        SOURCE.set((source.add(given * size), left - given * size));
    }
    given
}

fn use_threads(threads: u16) {
    // SAFETY: sets a number of the calling thread, no more.
    unsafe { omp_set_num_threads(threads.max(1).into()) }
}

fn c_path(path: &Path) -> Result<CString> {
    CString::new(path.as_os_str().as_encoded_bytes()).map_err(|_| Error::Faiss("a path holds a NUL byte".into()))
}

fn check(code: std::ffi::c_int) -> Result<()> {
    if code == 0 {
        return Ok(());
    }
    // SAFETY: FAISS returns null or a string that lives until its next call on this thread.
    let message = unsafe {
        let text = sys::faiss_get_last_error();
        if text.is_null() { format!("error {code}") } else { CStr::from_ptr(text).to_string_lossy().into_owned() }
    };
    Err(Error::Faiss(first_sentence(&message)))
}

/// FAISS's messages carry the C++ place they came from; a user needs what follows it.
fn first_sentence(message: &str) -> String {
    let text = message.rsplit(": Error: ").next().unwrap_or(message);
    let text = text.split_once(".cpp:").and_then(|(_, rest)| rest.split_once(": ")).map_or(text, |(_, reason)| reason);
    text.lines().next().unwrap_or(text).to_owned()
}

/// Tells whether this processor can run FAISS, which is compiled for AVX2 on x86-64 (`.cargo/config.toml`).
///
/// # Errors
/// - [`Error::Faiss`] that says in words what would otherwise be an illegal instruction.
pub fn available() -> Result<()> {
    #[cfg(target_arch = "x86_64")]
    if !(std::is_x86_feature_detected!("avx2") && std::is_x86_feature_detected!("fma")) {
        let reason = "this processor lacks AVX2; build noso with CXXFLAGS_x86_64_unknown_linux_gnu=\"\"";
        return Err(Error::Faiss(reason.into()));
    }
    Ok(())
}
