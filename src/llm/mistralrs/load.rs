//! Loading with mistral.rs: a checked model comes in, a running engine leaves, or an error where it would have panicked.

use std::path::{Path, PathBuf};

use mistralrs::{
    GgufModelBuilder, IsqBits, Model, ModelDType, TextModelBuilder, best_device, core::DeviceMapSetting,
    parse_isq_value,
};
use tokio::runtime::Runtime;

use super::stage::load_error;
use crate::{
    config::{Device, Dtype, LlmConfig},
    error::{Error, Result},
};

pub(super) fn load_tokenizer(model: &Path, folder: &Path) -> Result<tokenizers::Tokenizer> {
    tokenizers::Tokenizer::from_file(folder.join("tokenizer.json")).map_err(|e| {
        load_error(model, format!("tokenizer.json: {e}"), "the file is damaged; copy the model folder again")
    })
}

/// Runs `load` on a thread of its own and turns a panic into an error.
pub(super) fn guarded<T: Send + 'static>(model: &Path, load: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let thread = std::thread::Builder::new().name("noso-load".into()).spawn(load);
    let thread = thread.map_err(|e| load_error(model, e.to_string(), "free some memory"))?;
    thread.join().unwrap_or_else(|panic| {
        let said = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
        let reason = format!("mistral.rs panicked: {}", said.unwrap_or("no message"));
        Err(load_error(model, reason, "check that the files of the model are whole and belong together"))
    })
}

pub(super) fn load_model(config: &LlmConfig, model: &Path, folder: Option<PathBuf>) -> Result<(Runtime, Model)> {
    let broken = |reason: String| {
        let hint = "check that the files of the model are whole, and that it fits into memory (`quantization` makes it smaller)";
        load_error(model, reason, hint)
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|e| broken(e.to_string()))?;
    let device = best_device(config.device == Device::Cpu).map_err(|e| broken(e.to_string()))?;
    match (config.device, device.is_cuda()) {
        (Device::Cuda, false) if cfg!(feature = "cuda") => return Err(broken("no GPU was found".into())),
        (Device::Cuda, false) => return Err(Error::NotBuilt { engine: "CUDA", feature: "cuda" }),
        (_, false) if matches!(config.dtype, Dtype::Bf16 | Dtype::F16) => {
            let reason = "the CPU does not multiply 16-bit numbers".into();
            return Err(load_error(model, reason, "leave `llm.dtype` at auto, or use a GPU"));
        }
        _ if folder.is_none() && (config.quantization.is_some() || config.dtype != Dtype::Auto) => {
            let reason = "a GGUF file brings its own number formats".into();
            return Err(load_error(model, reason, "leave `llm.quantization` and `llm.dtype` out"));
        }
        _ => {}
    }
    let quantization = config.quantization.as_deref().map(|name| quantization(name, &device)).transpose()?;
    let max_sequences = max_in_flight(config);
    let loaded = match folder {
        Some(folder) => {
            let mut builder = TextModelBuilder::new(folder.display())
                .with_dtype(dtype(config.dtype, device.is_cuda()))
                .with_max_num_seqs(max_sequences)
                // Never evicted on the CPU, so it would grow with every prompt.
                .with_prefix_cache_n(None);
            if !device.is_cuda() {
                builder = builder.with_force_cpu().with_device_mapping(DeviceMapSetting::dummy());
            }
            if let Some(kind) = quantization {
                builder = builder.with_isq(kind);
            }
            runtime.block_on(builder.build())
        }
        None => {
            let parent = model.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
            let name = model.file_name().unwrap_or_default().to_string_lossy();
            let mut builder = GgufModelBuilder::new(parent.display(), vec![name])
                .with_max_num_seqs(max_sequences)
                .with_prefix_cache_n(None);
            if !device.is_cuda() {
                builder = builder.with_force_cpu().with_device_mapping(DeviceMapSetting::dummy());
            }
            runtime.block_on(builder.build())
        }
    };
    Ok((runtime, loaded.map_err(|e| broken(format!("{e:#}")))?))
}

/// Returns how many requests may be worked on at a time: one on the CPU, where mistral.rs 0.8.1 gives all sequences that it
/// continues together the attention of the last one (`flash_attn_cpu_single_q` has one scratch buffer for the whole batch).
pub(super) fn max_in_flight(config: &LlmConfig) -> usize {
    let on_cpu = config.device == Device::Cpu || best_device(false).is_ok_and(|device| device.is_cpu());
    if on_cpu { 1 } else { config.requests_in_flight() }
}

fn dtype(wanted: Dtype, on_gpu: bool) -> ModelDType {
    match wanted {
        // mistral.rs's own choice needs nvidia-smi on a GPU, and formats that the CPU cannot multiply.
        Dtype::Auto if on_gpu => ModelDType::BF16,
        Dtype::Auto | Dtype::F32 => ModelDType::F32,
        Dtype::Bf16 => ModelDType::BF16,
        Dtype::F16 => ModelDType::F16,
    }
}

fn quantization(name: &str, device: &mistralrs::Device) -> Result<mistralrs::IsqType> {
    if let Ok(bits) = IsqBits::try_from(name) {
        return Ok(bits.resolve(device));
    }
    parse_isq_value(name, Some(device)).map_err(|_| Error::Setting {
        key: "llm.quantization".into(),
        expected: "a kind that mistral.rs knows, such as q4k, q8_0, 4 or 8".into(),
        got: name.into(),
    })
}
