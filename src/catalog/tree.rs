//! A catalogue comes in; the classification as a tree leaves: chapters, tens of categories, categories, subdivisions.

use std::{collections::BTreeMap, sync::Arc};

use super::{Catalog, CatalogEntry, Level};
use crate::icd::IcdCode;

/// Characters after which titles joined to one are cut.
const TITLE_CHARACTERS: usize = 160;

/// Titles of the chapters, in the order of their numbers.
///
/// # Source
/// ICD-10, chapter list: <https://icd.who.int/browse10/2019/en>.
const CHAPTER_TITLES: [&str; 22] = [
    "Инфекционные и паразитарные болезни",
    "Новообразования",
    "Болезни крови и кроветворных органов, иммунные нарушения",
    "Болезни эндокринной системы, питания и обмена веществ",
    "Психические расстройства и расстройства поведения",
    "Болезни нервной системы",
    "Болезни глаза",
    "Болезни уха",
    "Болезни системы кровообращения",
    "Болезни органов дыхания",
    "Болезни органов пищеварения",
    "Болезни кожи и подкожной клетчатки",
    "Болезни костей, мышц и соединительной ткани",
    "Болезни мочеполовой системы",
    "Беременность, роды и послеродовой период",
    "Состояния перинатального периода",
    "Врожденные аномалии и хромосомные нарушения",
    "Симптомы, признаки и отклонения от нормы",
    "Травмы, отравления и другие последствия внешних причин",
    "Внешние причины",
    "Факторы, влияющие на здоровье, и обращения в учреждения здравоохранения",
    "Коды для особых целей",
];

/// A part of the classification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Branch {
    /// Code, or first and last category.
    pub code: String,
    /// Title; of several categories, or of a category that the catalogue lacks, the beginnings of those below.
    pub title: Arc<str>,
    /// The code itself, where the branch is one.
    pub entry: Option<IcdCode>,
    /// What lies below, in order of codes; a category with subdivisions stands first among them itself.
    pub children: Vec<Branch>,
}

impl Catalog {
    /// Arranges the codes as a tree and returns its chapters. Ranges of the file and codes outside the classification are
    /// left out.
    pub fn tree(&self) -> Vec<Branch> {
        let mut chapters: BTreeMap<u8, BTreeMap<String, Vec<&CatalogEntry>>> = BTreeMap::new();
        for entry in &self.entries {
            let single = matches!(Level::of(&entry.code), Level::Category | Level::Subdivision);
            if let Some(chapter) = entry.code.chapter().filter(|_| single) {
                chapters.entry(chapter).or_default().entry(entry.code.group().to_owned()).or_default().push(entry);
            }
        }
        chapters.into_iter().map(|(chapter, categories)| branch_of_chapter(chapter, categories)).collect()
    }
}

fn branch_of_chapter(chapter: u8, categories: BTreeMap<String, Vec<&CatalogEntry>>) -> Branch {
    let mut tens: BTreeMap<String, Vec<Branch>> = BTreeMap::new();
    for (category, entries) in categories {
        let ten: String = category.chars().take(2).collect();
        tens.entry(ten).or_default().push(branch_of_category(&category, entries));
    }
    let children: Vec<Branch> = tens.into_values().map(together).collect();
    let chapter_title = CHAPTER_TITLES.get(usize::from(chapter).saturating_sub(1)).copied().unwrap_or_default();
    match together(children) {
        // A chapter of a single code is that code.
        code @ Branch { entry: Some(_), .. } => code,
        branch => Branch { title: chapter_title.into(), ..branch },
    }
}

/// Puts branches under one; a single one stays as it is.
fn together(mut branches: Vec<Branch>) -> Branch {
    if branches.len() == 1 {
        return branches.remove(0);
    }
    // A branch's code is a category, a code, or a range of categories.
    let category = |code: &str| code.chars().take(3).collect::<String>();
    let first = branches.first().map_or_else(String::new, |first| category(&first.code));
    let last = branches.last().and_then(|last| last.code.rsplit('-').next()).map_or_else(String::new, category);
    Branch { code: format!("{first}-{last}"), title: titles(&branches), entry: None, children: branches }
}

/// Joins the titles of branches, and cuts them off where they get long.
fn titles(branches: &[Branch]) -> Arc<str> {
    let all = branches.iter().map(|branch| &*branch.title).collect::<Vec<_>>().join("; ");
    all.chars().take(TITLE_CHARACTERS).collect::<String>().into()
}

fn branch_of_category(category: &str, mut entries: Vec<&CatalogEntry>) -> Branch {
    entries.sort_by(|a, b| a.code.cmp(&b.code));
    let leaf = |entry: &&CatalogEntry| Branch {
        code: entry.code.to_string(),
        title: entry.title.clone(),
        entry: Some(entry.code.clone()),
        children: Vec::new(),
    };
    let mut leaves: Vec<Branch> = entries.iter().map(leaf).collect();
    if leaves.len() == 1 {
        return leaves.remove(0);
    }
    let own = leaves.first().filter(|first| first.code == category).map(|first| first.title.clone());
    let title = own.unwrap_or_else(|| titles(&leaves));
    Branch { code: category.to_owned(), title, entry: None, children: leaves }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaves(branch: &Branch) -> Vec<String> {
        let own = branch.entry.iter().map(ToString::to_string);
        own.chain(branch.children.iter().flat_map(leaves)).collect()
    }

    #[test]
    fn every_code_of_the_shipped_catalogue_is_a_leaf_once() {
        let catalog = Catalog::shipped().unwrap();
        let tree = catalog.tree();
        let mut found: Vec<String> = tree.iter().flat_map(leaves).collect();
        let single = |entry: &&CatalogEntry| matches!(Level::of(&entry.code), Level::Category | Level::Subdivision);
        let mut wanted: Vec<String> =
            catalog.entries().iter().filter(single).map(|entry| entry.code.to_string()).collect();
        found.sort();
        wanted.sort();
        assert_eq!(found, wanted);
        assert_eq!(tree.len(), 22);
        let heart = tree.iter().find(|branch| &*branch.title == "Болезни системы кровообращения").unwrap();
        assert!(
            heart.code.starts_with('I') && heart.children.iter().any(|ten| ten.code.starts_with("I2")),
            "{}",
            heart.code
        );
    }
    #[test]
    fn a_small_catalogue_gives_a_small_tree() {
        let mut file = tempfile::Builder::new().suffix(".tsv").tempfile().unwrap();
        let lines = [
            "code\ttitle",
            "H66.9\tОтит",
            "K29.5\tГастрит",
            "K25.3\tЯзва острая",
            "K25.7\tЯзва давняя",
            "K90.4\tЗапоры",
        ];
        std::io::Write::write_all(&mut file, lines.join("\n").as_bytes()).unwrap();
        let tree = Catalog::load(file.path()).unwrap().tree();
        let told = |branch: &Branch| format!("{} {}", branch.code, branch.title);
        assert_eq!(tree.iter().map(told).collect::<Vec<_>>(), ["H66.9 Отит", "K25-K90 Болезни органов пищеварения"]);
        let below = |branch: &Branch| branch.children.iter().map(told).collect::<Vec<_>>();
        assert_eq!(below(&tree[1]), ["K25-K29 Язва острая; Язва давняя; Гастрит", "K90.4 Запоры"]);
        assert_eq!(below(&tree[1].children[0]), ["K25 Язва острая; Язва давняя", "K29.5 Гастрит"]);
    }
}
