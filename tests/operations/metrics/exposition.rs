//! Prometheus' text format, read strictly: the test fails on anything that a scraper would refuse.

use std::collections::BTreeMap;

/// One metric with all its series.
#[derive(Debug, Default)]
pub struct Family {
    /// `counter`, `gauge` or `histogram`.
    pub kind: String,
    /// The help text.
    pub help: String,
    /// Series of this name. For a histogram, `_bucket`, `_sum` and `_count` are the label `of`.
    pub series: Vec<(BTreeMap<String, String>, f64)>,
}

/// The metrics by name.
#[derive(Debug)]
pub struct Exposition(BTreeMap<String, Family>);

impl Exposition {
    /// Reads a whole answer.
    pub fn parse(text: &str) -> Self {
        let mut families: BTreeMap<String, Family> = BTreeMap::new();
        for line in text.lines().filter(|line| !line.is_empty()) {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').expect("a help has a text");
                families.entry(name.to_owned()).or_default().help = help.to_owned();
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').expect("a type has a kind");
                families.entry(name.to_owned()).or_default().kind = kind.to_owned();
            } else {
                let (series, value) = line.rsplit_once(' ').expect("a sample has a value");
                let value = value.parse().unwrap_or_else(|_| panic!("no number: {line}"));
                let (name, mut labels) = labels(series);
                let part = ["_bucket", "_sum", "_count"].iter().find_map(|part| {
                    let family = name.strip_suffix(part)?;
                    let histogram = families.get(family)?.kind == "histogram";
                    histogram.then(|| (family.to_owned(), (*part).to_owned()))
                });
                let family = match part {
                    Some((family, part)) => {
                        labels.insert("of".into(), part);
                        family
                    }
                    None => name,
                };
                let family = families.get_mut(&family);
                family.unwrap_or_else(|| panic!("no type: {line}")).series.push((labels, value));
            }
        }
        families.values().for_each(whole_buckets);
        Self(families)
    }

    /// The metric of this name.
    #[track_caller]
    pub fn family(&self, name: &str) -> &Family {
        self.0.get(name).unwrap_or_else(|| panic!("no {name}"))
    }

    /// The sum of the series with these labels.
    #[track_caller]
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let has = |(name, value): &(&str, &str), of: &BTreeMap<String, String>| {
            of.get(*name).is_some_and(|found| found == value)
        };
        let series = self.family(name).series.iter();
        let chosen = series.filter(|(of, _)| labels.iter().all(|label| has(label, of)));
        chosen.map(|(_, value)| value).sum()
    }
}

/// A name, and the labels in braces if there are any.
fn labels(series: &str) -> (String, BTreeMap<String, String>) {
    let Some((name, rest)) = series.split_once('{') else {
        return (series.to_owned(), BTreeMap::new());
    };
    let inside = rest.strip_suffix('}').unwrap_or_else(|| panic!("no end: {series}"));
    let pair = |label: &str| {
        let (name, value) = label.split_once("=\"").expect("a label has a value");
        let value = value.strip_suffix('"').expect("a value ends with a quote");
        (name.to_owned(), value.to_owned())
    };
    (name.to_owned(), inside.split(',').map(pair).collect())
}

/// Buckets grow, and the last holds all.
fn whole_buckets(family: &Family) {
    let mut by_series: BTreeMap<BTreeMap<String, String>, Vec<f64>> = BTreeMap::new();
    for (labels, value) in &family.series {
        let mut labels = labels.clone();
        labels.remove("le");
        if labels.remove("of").is_some_and(|part| part != "_sum") {
            by_series.entry(labels).or_default().push(*value);
        }
    }
    for values in by_series.values() {
        assert!(values.is_sorted() && values.len() > 2, "{family:?}");
        assert_eq!(values.last(), values.iter().nth_back(1), "{family:?}");
    }
}

#[test]
fn a_histogram_is_read_with_its_parts() {
    let text = "# HELP a b c\n# TYPE a histogram\na_bucket{x=\"1\",le=\"1\"} 2\n\
        a_bucket{x=\"1\",le=\"+Inf\"} 3\na_sum{x=\"1\"} 4.5\na_count{x=\"1\"} 3\n";
    let read = Exposition::parse(text);
    assert_eq!(read.sum("a", &[("of", "_sum"), ("x", "1")]), 4.5);
    assert_eq!(read.sum("a", &[("of", "_bucket"), ("x", "2")]), 0.0);
}

#[test]
#[should_panic(expected = "no type: b 1")]
fn a_sample_without_a_type_is_refused() {
    Exposition::parse("# TYPE a counter\na 1\nb 1\n");
}
