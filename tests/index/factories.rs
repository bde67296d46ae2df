//! Every kind of FAISS index is built, saved, loaded and searched alike; what it cannot do is said in words.

use std::sync::Arc;

use noso::{
    catalog::Catalog,
    config::Fusion,
    data::{Match, Mention, Origin, Span},
    embed::{
        Embed,
        hybrid::HybridEncoder,
        ngram::{NgramEncoder, NgramSettings},
    },
    index::{Index, IndexSettings, Metric, SourceRow},
    retrieval::{RetrievalSettings, Retriever, SearchedIndex},
};

const ORGANS: [&str; 10] =
    ["почек", "печени", "желудка", "сердца", "кожи", "глаза", "уха", "носа", "гортани", "щитовидной железы"];
const DISEASES: [&str; 30] = [
    "киста",
    "опухоль",
    "травма",
    "ожог",
    "абсцесс",
    "инфаркт",
    "гипоплазия",
    "аплазия",
    "дистрофия",
    "атрофия",
    "гипертрофия",
    "эмболия",
    "тромбоз",
    "ишемия",
    "некроз",
    "фиброз",
    "склероз",
    "туберкулез",
    "сифилис",
    "микоз",
    "рак",
    "саркома",
    "гемангиома",
    "липома",
    "невринома",
    "ушиб",
    "рана",
    "отек",
    "воспаление",
    "аномалия",
];

/// 300 texts, each with a code of its own.
fn rows() -> Vec<SourceRow> {
    let row = |n: usize| SourceRow {
        text: format!("{} {}", DISEASES[n / 10], ORGANS[n % 10]),
        code: format!("{}{:02}.{}", (b'A' + (n / 100) as u8) as char, n % 100 / 10 * 10, n % 10).parse().unwrap(),
        origin: Origin::Title,
    };
    (0..300).map(row).collect()
}

fn ngram(longest: u8, dim: u16) -> Arc<NgramEncoder> {
    let rows = rows();
    let settings = NgramSettings { longest, dim, ..NgramSettings::default() };
    Arc::new(NgramEncoder::train(rows.iter().map(|row| row.text.as_str()), settings).unwrap())
}

fn build(factory: &str, metric: Metric, encoder: &dyn Embed) -> noso::Result<Index> {
    let settings = IndexSettings { factory: factory.into(), metric, nprobe: 4, ..IndexSettings::default() };
    Index::build(&rows(), encoder, settings)
}

#[test]
fn every_factory_finds_texts_again_also_after_a_round_to_the_disk() {
    let encoder = ngram(4, 128);
    let texts: Vec<String> = rows().into_iter().map(|row| row.text).collect();
    let queries = encoder.embed(&texts.iter().map(String::as_str).collect::<Vec<_>>()).unwrap();
    let factories = [
        "Flat",
        "SQ8",
        "SQfp16",
        "HNSW16",
        "HNSW8,SQ8",
        "IVF7,Flat",
        "IVF7,SQ8",
        "IVF7_HNSW8,Flat",
        "PCA64,IVF7,Flat",
        "PCA64,Flat",
        "IVF7,PQ16x4",
    ];
    for factory in factories {
        for metric in [Metric::Ip, Metric::L2] {
            let index = build(factory, metric, encoder.as_ref()).unwrap_or_else(|e| panic!("{factory}: {e}"));
            let folder = tempfile::tempdir().unwrap();
            index.save(folder.path()).unwrap();
            let hits = index.search(&queries, 5).unwrap();
            assert_eq!(Index::load(folder.path()).unwrap().search(&queries, 5).unwrap(), hits, "{factory} {metric:?}");
            let first = hits.iter().enumerate().filter(|(n, hits)| hits.first().is_some_and(|hit| hit.entry == *n));
            let found = first.count();
            // Product quantisation of 4 bits keeps the least.
            let least = if factory.contains("PQ") { 240 } else { 285 };
            assert!(found >= least, "{factory} {metric:?}: {found} of 300 texts are nearest to themselves");
        }
    }
}

#[test]
fn both_metrics_score_by_the_cosine() {
    let encoder = ngram(4, 128);
    let queries = encoder.embed(&["киста печени и почек", "туберкулёз кожи"]).unwrap();
    let [ip, l2] = [Metric::Ip, Metric::L2]
        .map(|metric| build("Flat", metric, encoder.as_ref()).unwrap().search(&queries, 10).unwrap().concat());
    assert_eq!(ip.len(), 20);
    for (ip, l2) in ip.iter().zip(&l2) {
        assert!(ip.entry == l2.entry && (ip.score - l2.score).abs() < 1e-5, "{ip:?} {l2:?}");
    }
    assert!(ip[0].score > ip[9].score);
}

#[test]
fn what_a_factory_cannot_do_is_said_in_words() {
    let encoder = ngram(4, 128);
    let told = |factory: &str| {
        let error = build(factory, Metric::Ip, encoder.as_ref()).err().unwrap_or_else(|| panic!("{factory} was built"));
        (error.to_string(), error.hint().unwrap_or_default())
    };
    let (ivf, _) = told("IVF512,Flat");
    assert!(ivf.contains("IVF512,Flat") && ivf.contains("there are 300") && ivf.contains("up to 7"), "{ivf}");
    let (pq, hint) = told("PQ16x12");
    assert!(pq.contains("training points (300)") && hint.contains("learn little or nothing"), "{pq} {hint}");
    let (nonsense, hint) = told("Nonsense7");
    assert!(nonsense.contains("Nonsense7") && hint.contains("HNSW8,SQ8"), "{nonsense} {hint}");
    let (numbered, _) = told("IDMap,Flat");
    assert!(numbered.contains("add_with_ids") && !numbered.contains(".cpp"), "{numbered}");
    assert!(matches!(build("SQ8\0", Metric::Ip, encoder.as_ref()), Err(noso::Error::Setting { .. })));
}

fn retriever(encoder: Arc<dyn Embed>, fusion: Fusion) -> noso::Result<Retriever> {
    let index = Arc::new(build("Flat", Metric::Ip, encoder.as_ref())?);
    let settings = RetrievalSettings { neighbours: 20, fusion, ..RetrievalSettings::default() };
    let indexes = vec![SearchedIndex { index, titles: true }];
    Retriever::new(encoder, indexes, Arc::new(Catalog::shipped()?), false, settings)
}

fn hybrid(weight: f32) -> Arc<dyn Embed> {
    Arc::new(HybridEncoder::new(ngram(2, 128), ngram(5, 128), weight).unwrap())
}

#[test]
fn a_hybrid_index_gives_the_weighted_sum_of_both_cosines() {
    let hybrid = hybrid(0.25);
    let query = ["опухоли гортани"];
    let found = build("Flat", Metric::Ip, hybrid.as_ref()).unwrap();
    let found = found.search(&hybrid.embed(&query).unwrap(), 300).unwrap().concat();
    let cosines = |encoder: Arc<NgramEncoder>| {
        let hits = build("Flat", Metric::Ip, encoder.as_ref()).unwrap();
        let hits = hits.search(&encoder.embed(&query).unwrap(), 300).unwrap().concat();
        let mut scores = vec![0.0; 300];
        hits.iter().for_each(|hit| scores[hit.entry] = hit.score);
        scores
    };
    let (dense, ngram) = (cosines(ngram(2, 128)), cosines(ngram(5, 128)));
    assert_eq!(found.len(), 300);
    for hit in found {
        let expected = 0.25 * dense[hit.entry] + 0.75 * ngram[hit.entry];
        assert!((hit.score - expected).abs() < 1e-5, "{hit:?} {expected}");
    }
}

#[test]
fn ranks_are_fused_where_there_are_two_and_refused_where_there_is_one() {
    let text = "кисты печени".to_owned();
    let mention =
        Mention { span: Span::new(&text, 0, text.len()).unwrap(), text, matched: Match::Exact, probability: 1.0 };
    let best = |retriever: Retriever| retriever.retrieve(std::slice::from_ref(&mention)).unwrap().swap_remove(0);
    let fused = best(retriever(hybrid(0.5), Fusion::Rrf).unwrap());
    // First in both rankings: the greatest sum there is.
    assert_eq!(fused[0].code.as_str(), "A00.1");
    assert!((fused[0].support[0].similarity - 1.0).abs() < 1e-6, "{:?}", fused[0].support);
    // Ranks do not depend on the weight.
    let again = best(retriever(hybrid(0.9), Fusion::Rrf).unwrap());
    assert_eq!(fused.iter().map(|c| &c.code).collect::<Vec<_>>(), again.iter().map(|c| &c.code).collect::<Vec<_>>());
    let refused = retriever(ngram(4, 128), Fusion::Rrf).err().unwrap().to_string();
    assert!(refused.contains("retrieval.fusion"), "{refused}");
}

/// Gives vectors that are no numbers.
struct NoNumbers;

impl Embed for NoNumbers {
    fn dim(&self) -> usize {
        8
    }

    fn fingerprint(&self) -> &str {
        "no-numbers"
    }

    fn embed(&self, texts: &[&str]) -> noso::Result<Vec<f32>> {
        Ok(vec![f32::NAN; texts.len() * 8])
    }
}

#[test]
fn vectors_that_are_no_numbers_are_neither_indexed_nor_searched_with() {
    for factory in ["Flat", "HNSW8,SQ8", "IVF4,Flat"] {
        let settings = IndexSettings { factory: factory.into(), ..IndexSettings::default() };
        let built = Index::build(&rows(), &NoNumbers, settings);
        assert!(matches!(built, Err(noso::Error::NotFinite { .. })), "{factory}");
    }
    let index = Index::shipped().unwrap();
    let query = vec![f32::NAN; index.manifest().dim];
    assert!(matches!(index.search(&query, 5), Err(noso::Error::NotFinite { .. })));
}
