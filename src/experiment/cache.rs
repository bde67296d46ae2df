//! What language models were asked before, by the content of the question, and what slow stages made: keys come in, answers leave, if they
//! are known. Also the hashes of files, by size and time of change, and which pipelines were scored on a corpus.
//!
//! One file of an embedded store that survives being killed at any moment; what was kept in the last second may then be lost.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Mutex,
    time::{Duration, Instant, UNIX_EPOCH},
};

use redb::{Database, Durability, ReadableDatabase, ReadableTable, TableDefinition};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};

use crate::{
    artifact,
    error::{Error, Result},
    llm::{Answer, Request},
};

/// Key of a question: a hash of the model's fingerprint and all that it was asked with.
pub type Key = [u8; 32];

const FILE: &str = "cache.redb";
const ANSWERS: TableDefinition<&[u8], &[u8]> = TableDefinition::new("answers");
const STAGES: TableDefinition<&[u8], &[u8]> = TableDefinition::new("stages");
const HASHES: TableDefinition<&str, &[u8]> = TableDefinition::new("hashes");
const SCORED: TableDefinition<&str, ()> = TableDefinition::new("scored");
const SPEEDS: TableDefinition<&str, (u64, f64)> = TableDefinition::new("speeds");
/// Part of the key; changes when the same question would be asked in another form.
const FORMAT: u32 = 1;
/// Memory for pages of the file.
const PAGES_BYTES: usize = 64 << 20;
/// Time after which what was kept is written to the disk for good.
const SYNC: Duration = Duration::from_secs(1);

/// An open cache. Only one process can have it open.
pub struct Cache {
    database: Database,
    folder: PathBuf,
    synced: Mutex<Instant>,
}

impl Cache {
    /// Opens the cache in a folder, which is made where it does not exist.
    ///
    /// # Errors
    /// - [`Error::Cache`] if it cannot be written, is damaged, or another process has it open.
    pub fn open(folder: &Path) -> Result<Self> {
        let failed = |source| Error::Cache { folder: folder.to_owned(), source };
        std::fs::create_dir_all(folder).map_err(failed)?;
        let opened = Database::builder().set_cache_size(PAGES_BYTES).create(folder.join(FILE));
        let database = opened.map_err(|error| match error {
            redb::DatabaseError::DatabaseAlreadyOpen => failed(std::io::Error::new(
                std::io::ErrorKind::ResourceBusy,
                "another experiment is using it; wait for it, or choose another folder with --cache",
            )),
            other => failed(std::io::Error::other(other)),
        })?;
        let cache = Self { database, folder: folder.to_owned(), synced: Mutex::new(Instant::now()) };
        // Tables exist from here on, so that reading needs no writing.
        cache.write(true, |transaction| {
            transaction.open_table(ANSWERS)?;
            transaction.open_table(STAGES)?;
            transaction.open_table(HASHES)?;
            transaction.open_table(SCORED)?;
            transaction.open_table(SPEEDS)?;
            Ok(())
        })?;
        Ok(cache)
    }

    /// Returns the answers that are known; `answers[i]` belongs to `keys[i]`.
    ///
    /// # Errors
    /// - [`Error::Cache`] if the file cannot be read.
    pub fn answers(&self, keys: &[Key]) -> Result<Vec<Option<Answer>>> {
        self.read(|transaction| {
            let table = transaction.open_table(ANSWERS)?;
            let one = |key: &Key| {
                let kept = table.get(key.as_slice())?;
                // What another version wrote in another form is asked anew.
                Ok(kept.and_then(|kept| postcard::from_bytes(kept.value()).ok()))
            };
            keys.iter().map(one).collect()
        })
    }

    /// Keeps answers, and notes that so many took `seconds` of a kind of question, if that is given.
    ///
    /// # Errors
    /// - [`Error::Cache`] if the file cannot be written.
    pub fn keep<'a>(
        &self,
        answers: impl IntoIterator<Item = (&'a Key, &'a Answer)>,
        kind: &str,
        seconds: Option<f64>,
    ) -> Result<()> {
        self.write(false, |transaction| {
            let mut table = transaction.open_table(ANSWERS)?;
            let mut count = 0;
            for (key, answer) in answers {
                let bytes = postcard::to_stdvec(answer).unwrap_or_default();
                table.insert(key.as_slice(), bytes.as_slice())?;
                count += 1;
            }
            let Some(seconds) = seconds else { return Ok(()) };
            let mut speeds = transaction.open_table(SPEEDS)?;
            let before = speeds.get(kind)?.map_or((0, 0.0), |before| before.value());
            speeds.insert(kind, (before.0 + count, before.1 + seconds))?;
            Ok(())
        })
    }

    /// Returns what a stage made of each of some inputs, from the cache as far as it is known; `make` makes the rest, in order. Each input
    /// comes with its key.
    ///
    /// # Errors
    /// - [`Error::Cache`] if the file cannot be read or written; those of `make`.
    pub fn stage<T: Serialize + DeserializeOwned>(
        &self,
        keys: &[Key],
        make: impl FnOnce(&[usize]) -> Result<Vec<T>>,
    ) -> Result<Vec<T>> {
        let known: Vec<Option<T>> = self.read(|transaction| {
            let table = transaction.open_table(STAGES)?;
            let one =
                |key: &Key| Ok(table.get(key.as_slice())?.and_then(|kept| postcard::from_bytes(kept.value()).ok()));
            keys.iter().map(one).collect()
        })?;
        let missing: Vec<usize> = (0..keys.len()).filter(|&at| known[at].is_none()).collect();
        if missing.is_empty() {
            return Ok(known.into_iter().flatten().collect());
        }
        let made = make(&missing)?;
        self.write(false, |transaction| {
            let mut table = transaction.open_table(STAGES)?;
            for (&at, made) in missing.iter().zip(&made) {
                table.insert(keys[at].as_slice(), postcard::to_stdvec(made).unwrap_or_default().as_slice())?;
            }
            Ok(())
        })?;
        let mut made = made.into_iter();
        Ok(known.into_iter().filter_map(|known| known.or_else(|| made.next())).collect())
    }

    /// Returns the seconds that a question of a kind took on average; `None` if none was asked yet.
    ///
    /// # Errors
    /// - [`Error::Cache`] if the file cannot be read.
    pub fn seconds_each(&self, kind: &str) -> Result<Option<f64>> {
        let sum = self.read(|transaction| Ok(transaction.open_table(SPEEDS)?.get(kind)?.map(|sum| sum.value())))?;
        Ok(sum.filter(|(count, _)| *count > 0).map(|(count, seconds)| seconds / count as f64))
    }

    /// Returns the SHA-256 of a file, or of the names and contents of a folder's files; a file that has its size and time of change from
    /// before is not read again.
    ///
    /// # Errors
    /// - [`Error::Read`], [`Error::Cache`].
    pub fn sha256(&self, path: &Path) -> Result<String> {
        artifact::sha256_of_tree(path, &|file| self.sha256_of_file(file))
    }

    /// Returns the SHA-256 of the running program.
    ///
    /// # Errors
    /// - [`Error::Read`], [`Error::Cache`].
    pub fn program_sha256(&self) -> Result<String> {
        self.sha256(&std::env::current_exe().map_err(|e| Error::read("the program", e))?)
    }

    fn sha256_of_file(&self, path: &Path) -> Result<String> {
        let metadata = path.metadata().map_err(|e| Error::read(path, e))?;
        let changed = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        let absolute = path.canonicalize().map_err(|e| Error::read(path, e))?;
        let name = absolute.to_string_lossy().into_owned();
        let now =
            Hashed { bytes: metadata.len(), changed_ns: changed.unwrap_or_default().as_nanos(), sha256: String::new() };
        let known = self.read(|transaction| {
            let kept = transaction.open_table(HASHES)?.get(name.as_str())?;
            Ok(kept.and_then(|kept| postcard::from_bytes::<Hashed>(kept.value()).ok()))
        })?;
        if let Some(known) = known.filter(|known| (known.bytes, known.changed_ns) == (now.bytes, now.changed_ns)) {
            return Ok(known.sha256);
        }
        let sha256 = artifact::sha256_of_file(path)?;
        let bytes = postcard::to_stdvec(&Hashed { sha256: sha256.clone(), ..now }).unwrap_or_default();
        self.write(false, |transaction| {
            transaction.open_table(HASHES)?.insert(name.as_str(), bytes.as_slice())?;
            Ok(())
        })?;
        Ok(sha256)
    }

    /// Notes that pipelines are scored on a corpus; returns how many different ones were so far, these included.
    ///
    /// # Errors
    /// - [`Error::Cache`] if the file cannot be written.
    pub fn note_scored(&self, corpus: &str, pipelines: &BTreeSet<String>) -> Result<usize> {
        self.write(true, |transaction| {
            let mut table = transaction.open_table(SCORED)?;
            for pipeline in pipelines {
                table.insert(format!("{corpus}/{pipeline}").as_str(), ())?;
            }
            Ok(())
        })?;
        self.read(|transaction| {
            let (from, to) = (format!("{corpus}/"), format!("{corpus}0")); // 0 is the character after /
            Ok(transaction.open_table(SCORED)?.range(from.as_str()..to.as_str())?.count())
        })
    }

    fn read<T>(&self, work: impl FnOnce(&redb::ReadTransaction) -> std::result::Result<T, redb::Error>) -> Result<T> {
        let done = self.database.begin_read().map_err(redb::Error::from).and_then(|transaction| work(&transaction));
        done.map_err(|error| self.failed(error))
    }

    /// Writes: onto the disk for good where that is asked for or was not done for a while.
    fn write(
        &self,
        for_good: bool,
        work: impl FnOnce(&redb::WriteTransaction) -> std::result::Result<(), redb::Error>,
    ) -> Result<()> {
        let mut synced = self.synced.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let for_good = for_good || synced.elapsed() >= SYNC;
        let write = || -> std::result::Result<(), redb::Error> {
            let mut transaction = self.database.begin_write()?;
            transaction.set_durability(if for_good { Durability::Immediate } else { Durability::None })?;
            work(&transaction)?;
            Ok(transaction.commit()?)
        };
        write().map_err(|error| self.failed(error))?;
        if for_good {
            *synced = Instant::now();
        }
        Ok(())
    }

    fn failed(&self, error: redb::Error) -> Error {
        Error::Cache { folder: self.folder.clone(), source: std::io::Error::other(error) }
    }
}

impl Drop for Cache {
    fn drop(&mut self) {
        // What was kept since the last sync; if that fails, it is asked again.
        let _ = self.write(true, |_| Ok(()));
    }
}

/// A file's hash, and what it was like then.
#[derive(Serialize, Deserialize)]
struct Hashed {
    bytes: u64,
    changed_ns: u128,
    sha256: String,
}

/// Returns the key of what a stage makes of an input; `stage` says which stage, with its models and settings.
pub fn stage_key(stage: &str, input: &str) -> Key {
    Sha256::digest(postcard::to_stdvec(&(FORMAT, stage, input)).unwrap_or_default()).into()
}

/// Returns the key of a question to a model. The seed counts only where an answer is drawn.
pub fn key(model: &str, request: &Request) -> Key {
    let seed = if request.temperature > 0.0 { request.seed } else { 0 };
    let Request { messages, max_tokens, temperature, constraint, .. } = request;
    let asked = (FORMAT, model, messages, max_tokens, temperature, seed, constraint);
    Sha256::digest(postcard::to_stdvec(&asked).unwrap_or_default()).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        data::{Message, Role},
        llm::{Constraint, scripted::said},
    };

    fn request(content: &str) -> Request {
        let messages = vec![Message { role: Role::User, content: content.into() }];
        Request { messages, max_tokens: 8, temperature: 0.0, seed: 0, constraint: Constraint::Free }
    }

    #[test]
    fn answers_come_back_in_another_process_by_all_that_was_asked() {
        let folder = tempfile::tempdir().unwrap();
        let asked = request("ИБС");
        let (known, answer) = (key("m", &asked), said(&asked, "I25"));
        {
            let cache = Cache::open(folder.path()).unwrap();
            cache.keep([(&known, &answer)], "m, select", Some(2.0)).unwrap();
            cache.keep([(&known, &answer)], "m, select", Some(1.0)).unwrap();
            let busy = Cache::open(folder.path()).err().unwrap().to_string();
            assert!(busy.contains("--cache"), "{busy}");
        }
        let cache = Cache::open(folder.path()).unwrap();
        let others = [
            key("n", &asked),
            key("m", &Request { max_tokens: 9, ..asked.clone() }),
            key("m", &Request { temperature: 0.5, ..asked.clone() }),
            key("m", &Request { temperature: 0.5, seed: 1, ..asked.clone() }),
            key("m", &Request { constraint: Constraint::Choice { labels: vec!["1".into()] }, ..asked.clone() }),
            key("m", &request("ибс")),
        ];
        assert_eq!(others.iter().collect::<BTreeSet<_>>().len(), others.len());
        assert_eq!(key("m", &Request { seed: 7, ..asked }), known);
        assert_eq!(cache.answers(&[known]).unwrap(), [Some(answer)]);
        assert!(cache.answers(&others).unwrap().iter().all(Option::is_none));
        assert_eq!((cache.seconds_each("m, select").unwrap(), cache.seconds_each("n").unwrap()), (Some(1.5), None));
    }

    #[test]
    fn a_stage_makes_what_it_did_not_make_before() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path()).unwrap();
        let keys = |words: &[&str]| words.iter().map(|word| stage_key("ner bert-1", word)).collect::<Vec<_>>();
        let make = |missing: &[usize]| Ok(missing.iter().map(|at| format!("made {at}")).collect::<Vec<_>>());
        assert_eq!(cache.stage(&keys(&["a", "b"]), make).unwrap(), ["made 0", "made 1"]);
        assert_eq!(cache.stage(&keys(&["b", "c", "a"]), make).unwrap(), ["made 1", "made 1", "made 0"]);
        let nothing = |_: &[usize]| -> Result<Vec<String>> { panic!("all is known") };
        assert_eq!(cache.stage(&keys(&["c"]), nothing).unwrap(), ["made 1"]);
        assert_ne!(stage_key("ner bert-1", "a"), stage_key("ner bert-2", "a"));
    }

    #[test]
    fn a_changed_file_has_another_hash_and_pipelines_are_counted_once() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(&folder.path().join("cache")).unwrap();
        let model = folder.path().join("model");
        std::fs::create_dir(&model).unwrap();
        std::fs::write(model.join("a"), "one").unwrap();
        let first = cache.sha256(&model).unwrap();
        assert_eq!(cache.sha256(&model).unwrap(), first);
        std::fs::write(model.join("a"), "other").unwrap();
        assert_ne!(cache.sha256(&model).unwrap(), first);
        let pipelines = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<BTreeSet<_>>();
        assert_eq!(cache.note_scored("dev", &pipelines(&["a", "b"])).unwrap(), 2);
        assert_eq!(cache.note_scored("dev", &pipelines(&["b", "c"])).unwrap(), 3);
        assert_eq!(cache.note_scored("tune", &pipelines(&["b"])).unwrap(), 1);
    }
}
