//! A catalogue comes in; the classification as a tree leaves: chapters, tens of categories, categories, subdivisions.

use std::{collections::BTreeMap, sync::Arc};

use super::{Catalog, CatalogEntry, Level};
use crate::icd::IcdCode;

/// Characters after which the title of ten categories is cut.
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
    /// Title; of several categories the beginnings of theirs.
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
    let title = CHAPTER_TITLES.get(usize::from(chapter).saturating_sub(1)).copied().unwrap_or_default();
    Branch { title: title.into(), ..together(children) }
}

/// Puts branches under one; a single one stays as it is.
fn together(mut branches: Vec<Branch>) -> Branch {
    if branches.len() == 1 {
        return branches.remove(0);
    }
    let end = |branch: Option<&Branch>| branch.map_or("", |branch| &branch.code).to_owned();
    let first = end(branches.first()).chars().take(3).collect::<String>();
    let last = end(branches.last()).chars().rev().take(3).collect::<Vec<_>>().into_iter().rev().collect::<String>();
    let titles = branches.iter().map(|branch| &*branch.title).collect::<Vec<_>>().join("; ");
    let title: String = titles.chars().take(TITLE_CHARACTERS).collect();
    Branch { code: format!("{first}-{last}"), title: title.into(), entry: None, children: branches }
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
    let title = leaves.first().map_or_else(|| "".into(), |first| first.title.clone());
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
        (found.sort(), wanted.sort());
        assert_eq!(found, wanted);
        assert_eq!(tree.len(), 22);
        let heart = tree.iter().find(|branch| &*branch.title == "Болезни системы кровообращения").unwrap();
        assert!(
            heart.code.starts_with('I') && heart.children.iter().any(|ten| ten.code.starts_with("I2")),
            "{}",
            heart.code
        );
    }
}
