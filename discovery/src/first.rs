//! The first looks of a source, which has nothing yet to keep as it was.

/// So many first looks fail if they do not see everything; the next ones take what they see. What
/// can never be seen must not keep out all the rest.
pub(crate) const WHOLE_LOOKS: u32 = 3;

/// Whether a look that does not see everything counts. A set without what could not be seen would
/// take away what was known before a reload, or is remembered from before a restart.
#[derive(Debug, Clone, Default)]
pub(crate) struct First {
    over: bool,
    partial: u32,
}

impl First {
    /// Takes a look. False: it fails.
    pub(crate) fn takes(&mut self, whole: bool) -> bool {
        if !whole && !self.over {
            self.partial += 1;
        }
        self.over |= whole || self.partial >= WHOLE_LOOKS;
        self.over
    }
}

#[cfg(test)]
mod tests {
    use super::First;

    #[test]
    fn a_few_first_looks_must_see_everything_and_later_ones_need_not() {
        let mut first = First::default();
        assert_eq!(
            [false; 4].map(|whole| first.takes(whole)),
            [false, false, true, true]
        );
        let mut first = First::default();
        assert_eq!(
            [false, true, false].map(|whole| first.takes(whole)),
            [false, true, true]
        );
    }
}
