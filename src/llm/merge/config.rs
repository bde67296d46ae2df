//! `adapter_config.json` of PEFT: the text comes in, rank and scale of each module leave.

use regex::Regex;
use serde_json::{Map, Value};

/// Settings under which an adapter is more than `scale · B · A`, and what they stand for.
const UNSUPPORTED: [(&str, &str); 12] = [
    ("use_dora", "DoRA rescales the columns of the weights"),
    ("modules_to_save", "whole modules were trained beside the LoRA factors"),
    ("layer_replication", "layers of the model are repeated"),
    ("trainable_token_indices", "embeddings of single tokens were trained"),
    ("lora_bias", "the LoRA factors have biases"),
    ("target_parameters", "parameters outside of linear layers were trained"),
    ("use_qalora", "QALoRA pools the inputs of the factors"),
    ("use_bdlora", "BD-LoRA has block-diagonal factors"),
    ("kasa_config", "KaSA changes the model's own weights"),
    ("arrow_config", "Arrow routes between several adapters"),
    ("monteclora_config", "MonteCLoRA draws its factors at random"),
    ("alora_invocation_tokens", "aLoRA acts only after certain tokens"),
];

/// Initialisations that change the model's own weights: the factors then fit the changed weights only.
const CHANGE_THE_BASE: [&str; 5] = ["pissa", "corda", "olora", "loftq", "lora_ga"];

/// What the configuration says of rank and scale.
#[derive(Debug)]
pub(super) struct Config {
    /// Model that the adapter was trained on.
    pub base_model: Option<String>,
    /// Rank `r` of modules that no pattern names.
    pub rank: usize,
    /// `α` of modules that no pattern names.
    pub alpha: f64,
    /// `α/√r` instead of `α/r`.
    pub rslora: bool,
    /// Weights are stored `(in, out)`.
    pub fan_in_fan_out: bool,
    /// Ranks of modules whose name a pattern matches, in the file's order.
    pub ranks: Vec<Pattern<usize>>,
    /// `α` of modules whose name a pattern matches, in the file's order.
    pub alphas: Vec<Pattern<f64>>,
    /// Names of modules, or one regular expression.
    pub targets: Vec<String>,
    /// Why the adapter cannot be merged, where a setting forbids it.
    pub unsupported: Option<String>,
}

/// A value for the modules whose name matches.
#[derive(Debug)]
pub(super) struct Pattern<T> {
    /// As written in the file.
    pub key: String,
    /// The value.
    pub value: T,
    regex: Regex,
}

impl Config {
    /// Parses the file.
    ///
    /// # Errors
    /// The reason, if this is no configuration of a LoRA adapter.
    pub fn parse(json: &[u8]) -> Result<Self, String> {
        let fields: Map<String, Value> = serde_json::from_slice(json).map_err(|e| e.to_string())?;
        match field(&fields, "peft_type", Value::as_str)? {
            Some("LORA") => {}
            kind => return Err(format!("`peft_type`: expected LORA, got {}", kind.unwrap_or("nothing"))),
        }
        let required = |name| format!("`{name}`: expected a number, got nothing");
        let rank = field(&fields, "r", Value::as_u64)?.ok_or_else(|| required("r"))? as usize;
        let number = |value: &Value| Some(value.as_u64()? as usize);
        Ok(Self {
            base_model: field(&fields, "base_model_name_or_path", Value::as_str)?.map(str::to_owned),
            rank,
            alpha: field(&fields, "lora_alpha", Value::as_f64)?.ok_or_else(|| required("lora_alpha"))?,
            rslora: field(&fields, "use_rslora", Value::as_bool)?.unwrap_or(false),
            fan_in_fan_out: field(&fields, "fan_in_fan_out", Value::as_bool)?.unwrap_or(false),
            ranks: patterns(&fields, "rank_pattern", number)?,
            alphas: patterns(&fields, "alpha_pattern", Value::as_f64)?,
            targets: targets(&fields),
            unsupported: unsupported(&fields),
        })
    }

    /// Returns the rank that the factors of `module` must have.
    pub fn rank(&self, module: &str) -> usize {
        first_match(&self.ranks, module).unwrap_or(self.rank)
    }

    /// Returns what the product of the factors of `module` is multiplied with.
    pub fn scale(&self, module: &str) -> f64 {
        let (alpha, rank) = (first_match(&self.alphas, module).unwrap_or(self.alpha), self.rank(module) as f64);
        if self.rslora { alpha / rank.sqrt() } else { alpha / rank }
    }
}

/// The first pattern wins, and matches the end of a name from a dot on, or all of it.
///
/// # Source
/// PEFT 0.21 `get_pattern_key`.
fn first_match<T: Copy>(patterns: &[Pattern<T>], module: &str) -> Option<T> {
    patterns.iter().find(|pattern| pattern.regex.is_match(module)).map(|pattern| pattern.value)
}

/// Reads a field; absent and `null` are the same.
fn field<'a, T>(
    fields: &'a Map<String, Value>,
    name: &str,
    read: impl Fn(&'a Value) -> Option<T>,
) -> Result<Option<T>, String> {
    match fields.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => read(value).map(Some).ok_or_else(|| format!("`{name}`: got {value}, which is of another type")),
    }
}

fn patterns<T>(
    fields: &Map<String, Value>,
    name: &str,
    read: impl Fn(&Value) -> Option<T>,
) -> Result<Vec<Pattern<T>>, String> {
    let Some(entries) = field(fields, name, Value::as_object)? else { return Ok(Vec::new()) };
    let pattern = |(key, value): (&String, &Value)| {
        let regex = Regex::new(&format!(r"^(.*\.)?({key})$"))
            .map_err(|e| format!("`{name}`: `{key}` is no regular expression that noso reads: {e}"))?;
        let value = read(value).ok_or_else(|| format!("`{name}`: expected a number for `{key}`, got {value}"))?;
        Ok(Pattern { key: key.clone(), value, regex })
    };
    entries.iter().map(pattern).collect()
}

fn targets(fields: &Map<String, Value>) -> Vec<String> {
    match fields.get("target_modules") {
        Some(Value::String(pattern)) => vec![pattern.clone()],
        Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => Vec::new(),
    }
}

fn unsupported(fields: &Map<String, Value>) -> Option<String> {
    let is_set = |value: &Value| match value {
        Value::Null => false,
        Value::Bool(on) => *on,
        Value::Array(items) => !items.is_empty(),
        Value::Object(items) => !items.is_empty(),
        _ => true,
    };
    if let Some((name, meaning)) = UNSUPPORTED.iter().find(|(name, _)| fields.get(*name).is_some_and(is_set)) {
        return Some(format!("`{name}` is set: {meaning}, which noso does not merge"));
    }
    let start = fields.get("init_lora_weights")?.as_str()?;
    CHANGE_THE_BASE.iter().any(|name| start.to_lowercase().starts_with(name)).then(|| {
        format!(
            "`init_lora_weights` is {start}, which changed the model's own weights; save the adapter with \
             path_initial_model_for_weight_conversion"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(more: &str) -> Result<Config, String> {
        Config::parse(format!(r#"{{"peft_type": "LORA", "r": 16, "lora_alpha": 32{more}}}"#).as_bytes())
    }

    #[test]
    fn patterns_match_as_in_peft() {
        let config = config(
            r#", "rank_pattern": {"q_proj": 4, "layers.1.mlp.up_proj": 8, ".*mlp.*": 2},
               "alpha_pattern": {"^model.layers.0.self_attn.q_proj": 1}"#,
        )
        .unwrap();
        // name, rank, scale
        let cases = [
            ("model.layers.0.self_attn.q_proj", 4, 1.0 / 4.0),
            ("model.layers.1.self_attn.q_proj", 4, 32.0 / 4.0),
            ("q_proj", 4, 8.0),
            ("model.layers.0.self_attn.my_q_proj", 16, 2.0),
            ("model.layers.1.mlp.up_proj", 8, 4.0),
            ("model.layers.11.mlp.up_proj", 2, 16.0),
            ("model.layers.0.self_attn.q_proj.lora", 16, 2.0),
        ];
        for (name, rank, scale) in cases {
            assert_eq!((config.rank(name), config.scale(name)), (rank, scale), "{name}");
        }
    }

    #[test]
    fn rslora_divides_by_the_root_of_the_modules_rank() {
        let config = config(r#", "use_rslora": true, "rank_pattern": {"v_proj": 4}"#).unwrap();
        assert_eq!((config.scale("a.q_proj"), config.scale("a.v_proj")), (8.0, 16.0));
    }

    #[test]
    fn null_and_empty_settings_are_unset() {
        let config = config(
            r#", "rank_pattern": null, "alpha_pattern": {}, "modules_to_save": null, "use_dora": false,
               "layer_replication": [], "init_lora_weights": true, "target_modules": "all-linear""#,
        )
        .unwrap();
        assert_eq!(config.unsupported, None);
        assert_eq!(config.targets, ["all-linear"]);
    }

    #[test]
    fn what_is_no_lora_configuration_says_which_field() {
        for (json, told) in [
            ("{", "EOF"),
            ("[]", "map"),
            ("{}", "`peft_type`: expected LORA, got nothing"),
            (r#"{"peft_type": "IA3"}"#, "got IA3"),
            (r#"{"peft_type": "VERA", "r": 4}"#, "got VERA"),
            (r#"{"peft_type": "LORA", "r": 4}"#, "`lora_alpha`"),
            (r#"{"peft_type": "LORA", "lora_alpha": 4, "r": -1}"#, "`r`: got -1"),
            (r#"{"peft_type": "LORA", "lora_alpha": 4, "r": 4, "rank_pattern": {"(": 1}}"#, "`rank_pattern`: `(`"),
            (r#"{"peft_type": "LORA", "lora_alpha": 4, "r": 4, "alpha_pattern": {"a": "b"}}"#, "`alpha_pattern`"),
        ] {
            let reason = Config::parse(json.as_bytes()).unwrap_err();
            assert!(reason.contains(told), "{json}: {reason}");
        }
    }
}
