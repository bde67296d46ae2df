//! A study from its settings to its page: records are labelled twice, a model or several learn from either labels, all are measured on manual
//! codes.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Instant,
};

use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;

use super::{
    measured::{Judgement, Measured, judge},
    outcome::Outcome,
    page::page,
    settings::{RecordsSettings, SimulatedRecords, SplitSettings, StudySettings},
    sources::{self, Sources},
    start::{Start, named},
    sweep::sweep,
};
use crate::{
    artifact::write_atomic,
    catalog::Catalog,
    config::PipelineConfig,
    diagnosis::{
        Faults, Linking, Reader, Split,
        dataset::Dataset,
        group::Groups,
        labels::LabelSet,
        link_all,
        manual::Manual,
        model::DiagnosisModel,
        records::{Records, Wanted},
        simulate::{Simulator, disease, folder},
        table::{Appointments, Columns, TableFormat},
    },
    embed::bert::device,
    error::{Error, Result},
    nn::fit::{EvaluationRecord, History, ModelFolder, Watch},
    pipeline::Pipeline,
    train::diagnosis::{DiagnosisSettings, Lesson, MANUAL_F1, train},
};

/// Names of a study's files.
const CODER_FILE: &str = "coder.json";
const FAULTS_FILE: &str = "faults.json";
/// Most manual records that both models are measured on in the course of training.
pub(super) const WATCHED_RECORDS: usize = 2000;
/// The figures of a study, from which its page can be made again.
pub const OUTCOME_FILE: &str = "outcome.json";
/// The page.
pub const PAGE_FILE: &str = "index.html";

/// Sees a study's progress, that of its trainings by [`Watch`].
pub trait StudyWatch: Watch {
    /// Is told that a stage begins, and how much there is to do in it, where that is known.
    fn stage(&mut self, said: &str, total: Option<u64>);

    /// Is told how much more of the stage is done.
    fn advance(&mut self, count: u64);

    /// Is told what went wrong with a single row or conclusion; the study goes on.
    fn warn(&mut self, warning: String);
}

/// Carries out a study in a folder, and leaves [`PAGE_FILE`] and [`OUTCOME_FILE`] there. What an earlier run of the same settings finished
/// is not done again. `machine` is what the page says that it ran on.
///
/// # Errors
/// - [`Error::Write`] if the folder cannot be written or holds anything else; [`Error::Setting`] if it holds a study of other settings.
/// - Those of each part.
pub fn run(settings: &StudySettings, folder: &Path, machine: &str, watch: &mut dyn StudyWatch) -> Result<Outcome> {
    let started = Instant::now();
    let coder = PipelineConfig::load(&settings.coder.pipeline, &settings.coder.set)?;
    let catalog = coder.retrieval.catalog.as_deref().map_or_else(Catalog::shipped, Catalog::load)?;
    // What could stop the study is found before anything is written.
    let named = settings.model.encoder.as_deref().map(|name| named(settings, name)).transpose()?;
    if let Some(encoder) = &named {
        settings.training.reader(encoder).check()?;
    }
    let mut sources = sources::gather(settings, &catalog, named.as_ref())?;
    let _held = sources::claim(settings, &sources, folder)?;
    let (table, columns, manual_path) = records(settings, folder, watch)?;
    let data = folder.join(sources::DATA);
    sources::claim_data(settings, &sources, &data)?;
    let dataset = Dataset::new(&data);
    let faults = histories(settings, (&table, &columns), &catalog, &data, watch)?;
    // Found or not is known before the coding, which takes longest.
    let mut manual = Manual::load(&manual_path, &catalog)?;
    manual.find_in(&dataset)?;
    manual.told().for_each(|(count, what)| watch.warn(format!("{count} {what}")));
    sources.extend(label(&coder, &data, &faults, watch)?);
    let start = Start::new(settings, (&dataset, &manual), folder, watch)?;

    watch.stage("reading the records", None);
    let encoder = start.encoder(&settings.training)?;
    let reader = settings.training.reader(&encoder);
    let all = read(settings, &dataset, &reader, &manual)?;
    let mut runs = Vec::new();
    for number in 1..=settings.runs {
        runs.push(run_of(number, &all, &start, folder, watch)?);
    }
    watch.stage("comparing", None);
    let measured = Measured::new(&dataset, &all, &manual, &runs)?;
    let uncoded = dataset.count_linked()?.failed;
    let mut outcome = measured.outcome(settings, &catalog, (&faults, uncoded))?;
    outcome.sources = sources;
    outcome.sweep = sweep(settings, &all, &start, &folder.join("sweep"), watch)?;
    outcome.seconds = started.elapsed().as_secs_f64();
    outcome.machine = machine.to_owned();
    let json = serde_json::to_vec_pretty(&outcome).unwrap_or_default();
    write_atomic(&folder.join(OUTCOME_FILE), &json)?;
    write_atomic(&folder.join(PAGE_FILE), page(&outcome)?.as_bytes())?;
    Ok(outcome)
}

/// Trains a model on each label set by the seed of a run, numbered from 1, and lets both predict the manual records.
fn run_of(
    number: u64,
    records: &Records,
    start: &Start<'_>,
    folder: &Path,
    watch: &mut dyn StudyWatch,
) -> Result<[Judgement; 2]> {
    let settings = start.settings;
    let mut training = settings.training.clone();
    training.fit.seed += number - 1;
    let [of, ending] = match settings.runs {
        1 => Default::default(),
        runs => [format!(", {number} of {runs}"), if number > 1 { format!("-{number}") } else { String::new() }],
    };
    let mut learn = |set: LabelSet, name: &str| -> Result<Judgement> {
        watch.stage(&format!("training on the {name} codes{of}"), None);
        let lesson = Lesson { records, labels: set, watched: WATCHED_RECORDS };
        let folder = folder.join(format!("{name}{ending}"));
        let (model, history) = trained(&training, lesson, start, &folder, watch)?;
        watch.stage("measuring", None);
        let judged = judge(records, &model, training.fit.batch_tokens / 4)?;
        Ok(Judgement { judged, course: course(&history) })
    };
    Ok([learn(LabelSet::Original, "original")?, learn(LabelSet::Linked, "linked")?])
}

/// Returns table, columns and manual codes, made up if the study asks for it.
fn records(settings: &StudySettings, folder: &Path, watch: &mut dyn StudyWatch) -> Result<(PathBuf, Columns, PathBuf)> {
    if let Some(RecordsSettings { table, columns, manual }) = &settings.records {
        return Ok((table.clone(), Columns::renamed(columns)?, manual.clone()));
    }
    let simulated = folder.join("simulated");
    let table = folder::table_path(&simulated, TableFormat::Jsonl);
    if let Some(SimulatedRecords { patients, diseases, settings }) = &settings.simulate
        && !simulated.join(folder::RECORD_FILE).exists()
    {
        // What a run left that was killed here is of no use.
        let _ = fs::remove_dir_all(&simulated);
        let diseases = diseases.as_deref().map_or_else(disease::shipped, disease::load)?;
        let simulator = Simulator::new(diseases, settings.clone())?;
        watch.stage("making up patients", Some(*patients));
        folder::write(&simulator, *patients, &simulated, TableFormat::Jsonl, &mut |made| watch.advance(made))?;
    }
    Ok((table, Columns::renamed(&[])?, simulated.join(folder::TRUTH_FILE)))
}

/// Writes the histories of a table, if they are not there.
fn histories(
    settings: &StudySettings,
    (table, columns): (&Path, &Columns),
    catalog: &Catalog,
    folder: &Path,
    watch: &mut dyn StudyWatch,
) -> Result<Faults> {
    let (dataset, path) = (Dataset::new(folder), folder.join(FAULTS_FILE));
    if let Some(faults) = sources::stored::<Faults>(&path).filter(|_| dataset.has_histories()) {
        return Ok(faults);
    }
    watch.stage("reading the table", None);
    let SplitSettings { validation, test, seed, .. } = settings.split;
    let mut rejected = 0;
    let rows = Appointments::open(table, columns)?.map_while(|row| {
        watch.advance(1);
        let row = row.inspect_err(|error| {
            rejected += 1;
            watch.warn(error.to_string());
        });
        (!watch.stop()).then(|| row.ok())
    });
    let groups = Groups::spread(rows.flatten(), folder)?;
    go_on(watch, "reading the table")?;
    let mut faults = dataset.write_histories(&groups, &Split { validation, test, seed }, catalog)?;
    faults.rejected = rejected;
    faults.check(table)?;
    write_atomic(&path, &serde_json::to_vec_pretty(&faults).unwrap_or_default())?;
    Ok(faults)
}

/// Codes the conclusions that are not coded yet; returns the hashes of what codes them. The pipeline is loaded only if there are any.
fn label(coder: &PipelineConfig, folder: &Path, faults: &Faults, watch: &mut dyn StudyWatch) -> Result<Sources> {
    let (dataset, path) = (Dataset::new(folder), folder.join(CODER_FILE));
    let before: Option<Sources> = sources::stored(&path);
    if let Some(before) = before.as_ref().filter(|_| dataset.has_linked())
        && dataset.count_linked()?.patients == faults.patients
    {
        return Ok(before.clone());
    }
    watch.stage("coding the conclusions", Some(faults.appointments));
    let pipeline = Pipeline::load(coder)?;
    let models = pipeline.fingerprints().into_iter().map(|(stage, hash)| (format!("coder: {stage}"), hash)).collect();
    if before.is_some_and(|before| before != models) {
        let expected = format!("the models that coded the first conclusions, whose hashes are in {}", path.display());
        let got = "others; choose another --output, or take the folder away".into();
        return Err(Error::Setting { key: "coder".into(), expected, got });
    }
    write_atomic(&path, &serde_json::to_vec_pretty(&models).unwrap_or_default())?;
    link_all(&dataset, &pipeline, &mut |told| match told {
        Linking::Coded(count) => {
            watch.advance(count as u64);
            go_on(watch, "coding the conclusions")
        }
        Linking::Failed(id, error) => {
            watch.warn(format!("appointment {id}: {error}"));
            Ok(())
        }
    })?;
    Ok(models)
}

/// Ends the study where it is, if that is asked for.
fn go_on(watch: &dyn StudyWatch, what: &'static str) -> Result<()> {
    if watch.stop() { Err(Error::Interrupted { what }) } else { Ok(()) }
}

/// Reads the records of all parts, and sees that there are some to choose and to measure on.
fn read(settings: &StudySettings, dataset: &Dataset, reader: &Reader<'_>, manual: &Manual) -> Result<Records> {
    let wanted = Wanted { labels: None, manual: Some(manual), measure_manual: settings.split.test == 0.0 };
    let mut all = Records::read(dataset, reader, &wanted)?;
    draw_test(&mut all, &settings.split);
    let lacking = match (all.test.is_empty(), all.validation.is_empty()) {
        (true, _) => "no appointment of a patient to measure on has manual codes",
        (_, true) => "no patient is left to choose thresholds on: raise split.validation",
        _ => return Ok(all),
    };
    Err(Error::Training { what: "a study", reason: lacking.into() })
}

/// Keeps as many records of the test as are asked for.
fn draw_test(records: &mut Records, split: &SplitSettings) {
    if split.test_records == 0 || records.test.len() <= split.test_records {
        return;
    }
    let mut order: Vec<usize> = (0..records.test.len()).collect();
    order.shuffle(&mut ChaCha8Rng::seed_from_u64(split.seed));
    order.truncate(split.test_records);
    order.sort_unstable();
    records.keep_test(&order);
}

/// Trains a model, or reads it if it is there.
pub(super) fn trained(
    settings: &DiagnosisSettings,
    lesson: Lesson<'_>,
    start: &Start<'_>,
    folder: &Path,
    watch: &mut dyn StudyWatch,
) -> Result<(DiagnosisModel, History)> {
    if folder.join("config.json").exists() {
        let history = History::load(&folder.join("training"))?;
        let place = device(start.settings.model.device)?;
        return Ok((DiagnosisModel::load(&folder.display().to_string(), &place)?, history));
    }
    let claimed = ModelFolder::claim(folder, true)?;
    let (model, report) = train(start.encoder(settings)?, lesson, settings, &claimed, watch)?;
    Ok((model, report.history))
}

/// Returns weighted F1 on the manual codes by step.
fn course(history: &History) -> Vec<[f64; 2]> {
    let point = |one: &EvaluationRecord| Some([one.step as f64, f64::from(*one.figures.get(MANUAL_F1)?)]);
    history.evaluations.iter().filter_map(point).collect()
}
