//! Lists, of whatever kind an array of them is.

use std::ops::Range;

use arrow::{
    array::{Array, ArrayRef, AsArray},
    datatypes::{DataType, FieldRef},
};

/// The lists of an array.
pub(crate) struct Lists<'a> {
    pub(crate) item: &'a FieldRef,
    pub(crate) values: &'a ArrayRef,
    range: Box<dyn Fn(usize) -> Range<usize> + 'a>,
    /// Whether the elements of one place follow those of the place before.
    is_ordered: bool,
}

impl<'a> Lists<'a> {
    /// `None` of an array of something else.
    pub(crate) fn of(array: &'a dyn Array) -> Option<Self> {
        Some(match array.data_type() {
            DataType::List(item) => {
                let list = array.as_list::<i32>();
                let offsets = list.value_offsets();
                Self::new(item, list.values(), |at| offsets[at] as usize..offsets[at + 1] as usize)
            }
            DataType::LargeList(item) => {
                let list = array.as_list::<i64>();
                let offsets = list.value_offsets();
                Self::new(item, list.values(), |at| offsets[at] as usize..offsets[at + 1] as usize)
            }
            DataType::FixedSizeList(item, size) => {
                let (values, size) = (array.as_fixed_size_list().values(), *size as usize);
                Self::new(item, values, move |at| at * size..(at + 1) * size)
            }
            DataType::ListView(item) => {
                let list = array.as_list_view::<i32>();
                let (starts, sizes) = (list.value_offsets(), list.value_sizes());
                let range = |at: usize| span(starts[at] as usize, sizes[at] as usize);
                Self { is_ordered: false, ..Self::new(item, list.values(), range) }
            }
            DataType::LargeListView(item) => {
                let list = array.as_list_view::<i64>();
                let (starts, sizes) = (list.value_offsets(), list.value_sizes());
                let range = |at: usize| span(starts[at] as usize, sizes[at] as usize);
                Self { is_ordered: false, ..Self::new(item, list.values(), range) }
            }
            _ => return None,
        })
    }

    fn new(
        item: &'a FieldRef,
        values: &'a ArrayRef,
        range: impl Fn(usize) -> Range<usize> + 'a,
    ) -> Self {
        Self { item, values, range: Box::new(range), is_ordered: true }
    }

    /// Where the elements of a place are.
    pub(crate) fn range(&self, place: usize) -> Range<usize> {
        (self.range)(place)
    }

    /// Where the elements of some places are: together, or each for itself.
    pub(crate) fn ranges(&self, places: Range<usize>) -> impl Iterator<Item = Range<usize>> {
        let is_whole = self.is_ordered && !places.is_empty();
        let whole =
            is_whole.then(|| self.range(places.start).start..self.range(places.end - 1).end);
        let each = if is_whole { 0..0 } else { places };
        whole.into_iter().chain(each.map(|place| self.range(place)))
    }
}

fn span(start: usize, length: usize) -> Range<usize> {
    start..start + length
}
