//! Sizes of documents: turns bounds of bytes into numbers of documents and events.
//!
//! The size of a document is that of its JSON text, which is known when it is saved or loaded. In
//! between one document of a page that changes some is measured, as long as that is cheap beside the
//! next save. So a bound holds on average and not exactly: to measure every change would cost more
//! than the change.

/// Sizes as they were measured last.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Sizes {
    /// 0 until something was measured.
    average: usize,
    largest: usize,
}

/// Number of documents or events while no size is known.
const UNMEASURED: usize = 64;

impl Sizes {
    /// The sizes of all documents of one save or load. They replace what was known.
    pub(super) fn measured(&mut self, sizes: impl Iterator<Item = usize>) {
        let (mut count, mut total, mut largest) = (0, 0_usize, 0);
        for bytes in sizes {
            (count, total, largest) = (count + 1, total.saturating_add(bytes), largest.max(bytes));
        }
        if let Some(average) = total.checked_div(count) {
            *self = Self { average: average.max(1), largest };
        }
    }

    /// The size of one document that has changed.
    pub(super) fn sampled(&mut self, bytes: usize) {
        self.average = match self.average {
            0 => bytes.max(1),
            average => (average - average / 8).saturating_add(bytes / 8).max(1),
        };
        self.largest = self.largest.max(bytes);
    }

    /// Number of documents that fit into so many bytes: at least 1, at most `most`.
    pub(super) fn fit(&self, bytes: usize, most: usize) -> usize {
        let fit = bytes.checked_div(self.average).unwrap_or(UNMEASURED);
        fit.min(most).max(1)
    }

    /// Number of events to fold before reads are answered again, if each changes a document: a large
    /// document is copied for every event.
    pub(super) fn events(&self, bytes: usize) -> usize {
        let of_the_largest = bytes.saturating_mul(4).checked_div(self.largest);
        self.fit(bytes, of_the_largest.unwrap_or(UNMEASURED))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_of_bytes_becomes_a_number_of_documents() {
        let mut sizes = Sizes::default();
        assert_eq!((sizes.fit(1 << 20, 1_000), sizes.events(1 << 20)), (64, 64));
        sizes.measured([100, 300].into_iter());
        assert_eq!((sizes.fit(1_000, 1_000), sizes.fit(1_000, 3), sizes.fit(1, 9)), (5, 3, 1));
        sizes.measured(std::iter::empty());
        assert_eq!(sizes.fit(1_000, 1_000), 5, "an empty save tells nothing");
        (0..100).for_each(|_| sizes.sampled(10_000));
        assert!(sizes.fit(100_000, 1_000) <= 11, "documents that grow are noticed");
    }

    #[test]
    fn one_large_document_among_small_ones_shortens_the_stretch_between_reads() {
        let mut sizes = Sizes::default();
        sizes.measured(std::iter::repeat_n(100, 9_999).chain([10 << 20]));
        assert!(sizes.fit(8 << 20, 4_096) > 4_000, "{sizes:?}");
        assert_eq!(sizes.events(8 << 20), 3);
    }
}
