//! The model card: what a language model or an adapter is, how it was trained, and what was measured.

use std::path::{Path, PathBuf};

use comfy_table::{Table, presets::ASCII_MARKDOWN};

use crate::{
    artifact::write_atomic,
    error::Result,
    nn::fit::{FitSettings, History},
};

/// What a card says. It becomes the `README.md` of the folder, as model hubs have it.
pub(super) struct Card<'a> {
    /// Name of the folder.
    pub name: String,
    /// Base model of an adapter.
    pub base: Option<&'a str>,
    /// What it is, in a sentence.
    pub summary: String,
    /// Folders learnt from.
    pub corpus: &'a [PathBuf],
    /// Whose texts they are, as their licence asks to be told.
    pub attribution: Option<&'a str>,
    /// Names and values of what it was trained with, before those of the training loop.
    pub settings: Vec<(&'static str, String)>,
    pub fit: &'a FitSettings,
    pub history: &'a History,
    /// A command that uses it.
    pub usage: String,
}

impl Card<'_> {
    /// Writes `README.md` into a folder.
    ///
    /// # Errors
    /// - [`crate::Error::Write`] if the folder cannot be written.
    pub fn write(&self, folder: &Path) -> Result<()> {
        write_atomic(&folder.join("README.md"), self.text().as_bytes())
    }

    fn text(&self) -> String {
        let Self { name, summary, usage, .. } = self;
        let head = match self.base {
            Some(base) => {
                format!("base_model: {:?}\nlibrary_name: peft\n", base)
            }
            None => "library_name: transformers\n".to_owned(),
        };
        let folders: Vec<String> = self.corpus.iter().map(|folder| format!("`{}`", folder.display())).collect();
        let attribution = self.attribution.map(|words| format!("\n\n{words}")).unwrap_or_default();
        let (training, measured) = (self.training(), self.measured());
        let (version, commit) = (env!("CARGO_PKG_VERSION"), env!("NOSO_COMMIT"));
        format!(
            "---\n{head}language: ru\ntags: [icd-10, noso]\n---\n\n# {name}\n\n{summary}\n\n```sh\n{usage}\n```\n\n\
             ## Data\n\nTrained on the annotated notes of {}.{attribution}\n\n\
             ## Training\n\nBy noso {version} (commit {commit}); all settings are in `training/manifest.json`, each step in `training/losses.csv`.\n\n{training}\n\n\
             ## Measured\n\n{measured}\n",
            folders.join(", ")
        )
    }

    fn training(&self) -> String {
        let FitSettings { batch, accumulation, learning_rate, weight_decay, seed, .. } = self.fit;
        let steps = &self.history.steps;
        let tokens: usize = steps.iter().map(|step| step.tokens).sum();
        let last = steps.last();
        let figures = [
            ("Steps", steps.len().to_string()),
            ("Epochs", last.map_or(0, |step| step.epoch).to_string()),
            ("Texts a step", (batch * accumulation).to_string()),
            ("Tokens", tokens.to_string()),
            ("Highest learning rate", format!("{learning_rate:e}")),
            ("Weight decay", weight_decay.to_string()),
            ("Seed", seed.to_string()),
            ("Loss of the last step", last.map_or_else(String::new, |step| format!("{:.4}", step.loss))),
        ];
        let mut table = table(["Setting", "Value"]);
        for (name, value) in self.settings.iter().cloned().chain(figures) {
            table.add_row([name, &value]);
        }
        table.to_string()
    }

    fn measured(&self) -> String {
        let best = self.history.best_step.and_then(|step| self.history.evaluations.iter().find(|one| one.step == step));
        let Some(best) = best else {
            return "Nothing was held out: the weights are those of the last step.".to_owned();
        };
        let mut table = table(["Held-out figure", "Value"]);
        for (name, value) in &best.figures {
            table.add_row([name.clone(), format!("{value:.4}")]);
        }
        let of = self.history.evaluations.len();
        format!(
            "The weights are those after step {}, the best of {of} evaluations on held-out texts.\n\n{table}",
            best.step
        )
    }
}

fn table(header: [&str; 2]) -> Table {
    let mut table = Table::new();
    table.load_preset(ASCII_MARKDOWN).set_header(header);
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::fit::{EvaluationRecord, StepRecord};

    #[test]
    fn a_card_tells_the_base_the_best_evaluation_and_whose_texts_it_learnt() {
        let step = |step| StepRecord { step, epoch: 1, loss: 2.0, learning_rate: 0.1, gradient_norm: 1.0, tokens: 50 };
        let evaluation = |step, f1| EvaluationRecord { step, epoch: 1, score: f1, figures: [("f1".into(), f1)].into() };
        let history = History {
            steps: vec![step(1), step(2)],
            evaluations: vec![evaluation(1, 0.75), evaluation(2, 0.5)],
            best_step: Some(1),
        };
        let (corpus, fit) = ([PathBuf::from("notes/train")], FitSettings::default());
        let card = Card {
            name: "ner".into(),
            base: Some("models/base"),
            summary: "Finds diagnoses.".into(),
            corpus: &corpus,
            attribution: Some("Texts: a corpus, CC BY 4.0."),
            settings: vec![("Rank", "16".into())],
            fit: &fit,
            history: &history,
            usage: "noso code".into(),
        };
        let text = card.text();
        for told in
            ["base_model: \"models/base\"", "`notes/train`", "CC BY 4.0", "| Rank ", "| 100 ", "after step 1", "0.7500"]
        {
            assert!(text.contains(told), "{told} is not in\n{text}");
        }
        assert!(!text.contains("0.5000"));
        let nothing = History { evaluations: Vec::new(), best_step: None, ..history.clone() };
        assert!(Card { history: &nothing, ..card }.text().contains("Nothing was held out"));
    }
}
