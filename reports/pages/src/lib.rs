//! What all pages share: the layout, the templates, the words in both languages, and the pages that ask nothing of the
//! lake (sign-in, errors, saved queries). Rendering is pure: values in, HTML out.
//!
//! A page needs no script, no font and no image from elsewhere. It follows the reader's light or dark theme, is
//! readable on a phone and on paper, and speaks English and Chinese. A feature brings its own templates to [`fill`] and
//! builds them on `layout.html`.

#![warn(missing_docs)]

mod error_page;
mod frame;
mod language;
pub mod link;
mod notice;
pub mod report_pages;
pub mod saved_query;
pub mod screen;
mod sign_in;
mod template;
mod vocabulary;
pub mod words;

pub use error_page::{ErrorPage, error_page};
pub use frame::framed;
pub use language::{Language, Text};
pub use notice::{Notice, notice_page};
pub use sign_in::{SignIn, sign_in_page};
pub use template::{Error, Template, fill};
pub use vocabulary::{Vocabulary, VocabularyError};
