//! The forms of what a key holds, each once: `forms!` is the one list of them.
//!
//! A form has a code, which is what an encoded state begins with. The pointer that the server keeps of a key has the codes
//! below [`HEADER`] in its low bits; of a form from there on it has [`HEADER`] itself, and the code stands at the head of
//! what it points to ([`Headed`]). So there is room for as many as a byte can count, and those that most keys have take no
//! more than they hold.

use super::noted::Noted;
use super::packed::MaybePacked;
use super::regional::Shared;
use super::Meters;
use crate::core::algorithm::bucket::{Bucket, Stamped};
use crate::core::algorithm::fixed::{Dated, Fixed};
use crate::core::algorithm::joint::bucket::JointBucket;
use crate::core::algorithm::joint::fixed::JointFixed;
use crate::core::algorithm::joint::sliding::JointSliding;
use crate::core::algorithm::lease::Leases;
use crate::core::algorithm::meter::Allocations;
use crate::core::algorithm::reserved::Reserved;
use crate::core::algorithm::sliding::Sliding;
use std::fmt::{self, Debug};
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

/// The list: `name = code: what is kept`. Hands it to a macro, behind what that is given besides.
macro_rules! forms {
    ($then:ident $($given:tt)*) => {
        $then! {
            [$($given)*]
            tagged {
                /// See [`crate::core::algorithm::fixed`].
                Fixed = 0: MaybePacked<Fixed>,
                /// See [`crate::core::algorithm::sliding`].
                Sliding = 1: MaybePacked<Sliding>,
                /// See [`crate::core::algorithm::bucket`].
                Bucket = 2: MaybePacked<Bucket>,
                /// See [`crate::core::algorithm::lease`].
                Lease = 3: Meters<Leases>,
                /// Fixed windows, some of which may be the calendar's.
                Dated = 4: Meters<Dated>,
                /// Token buckets that can be settled by time.
                Stamped = 5: Meters<Stamped>,
                /// One of the others, or none, and what its key keeps beside its usage. (Encoded, it also has the code 8.)
                Noted = 6: Noted,
            }
            headed {
                /// Token buckets in which places are reserved ahead. (8 is how a `Noted` is written.)
                Reserved = 9: Meters<Reserved>,
                /// Fixed windows that several regions share. (Encoded, all that they share has the code 7.)
                SharedFixed = 7: Shared<JointFixed>,
                /// Sliding windows that several regions share.
                SharedSliding = 10: Shared<JointSliding>,
                /// Token buckets that several regions share.
                SharedBucket = 11: Shared<JointBucket>,
            }
        }
    };
}
pub(crate) use forms;

/// The first code that does not fit into a pointer.
pub const HEADER: u8 = 7;

/// How a form is held: owned, or borrowed from who owns it.
pub trait Hold {
    /// What is kept, held.
    type Of<T: 'static>: Deref<Target = T>;
    /// The same, of a form with a header.
    type Headed<T: 'static>: Deref<Target = T>;
}

/// By who owns it.
#[derive(Debug)]
pub enum Owned {}

/// To look at.
#[derive(Debug)]
pub struct Borrowed<'a>(PhantomData<&'a ()>);

/// To change.
#[derive(Debug)]
pub struct Exclusive<'a>(PhantomData<&'a mut ()>);

impl Hold for Owned {
    type Of<T: 'static> = Box<T>;
    type Headed<T: 'static> = HeadedBox<T>;
}

impl<'a> Hold for Borrowed<'a> {
    type Of<T: 'static> = &'a T;
    type Headed<T: 'static> = &'a T;
}

impl<'a> Hold for Exclusive<'a> {
    type Of<T: 'static> = &'a mut T;
    type Headed<T: 'static> = &'a mut T;
}

/// What one key holds. An absent key means that nothing is used.
pub type Limiter = Form<Owned>;
/// A limiter that somebody else owns, to look at.
pub type LimiterRef<'a> = Form<Borrowed<'a>>;
/// A limiter that somebody else owns, to change.
pub type LimiterMut<'a> = Form<Exclusive<'a>>;

/// What is kept of a form whose code stands before it.
#[derive(Clone, Debug)]
#[repr(C)]
pub struct Headed<T> {
    code: u64,
    /// What is kept.
    pub state: T,
}

/// What has a form with a header.
pub trait HasHeader {
    /// The form's.
    const CODE: u8;
}

/// Owns what is kept of a form with a header.
#[derive(Clone, Debug)]
pub struct HeadedBox<T>(pub Box<Headed<T>>);

impl<T: HasHeader> HeadedBox<T> {
    /// Of this.
    pub fn new(state: T) -> Self {
        let code = u64::from(T::CODE);
        Self(Box::new(Headed { code, state }))
    }
}

impl<T: HasHeader> From<T> for HeadedBox<T> {
    fn from(state: T) -> Self {
        Self::new(state)
    }
}

impl<T> Deref for HeadedBox<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0.state
    }
}

impl<T> DerefMut for HeadedBox<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0.state
    }
}

macro_rules! define {
    (
        []
        tagged { $($(#[$doc:meta])* $form:ident = $code:literal: $kept:ty,)* }
        headed { $($(#[$headed_doc:meta])* $headed:ident = $headed_code:literal: $headed_kept:ty,)* }
    ) => {
        /// A limiter: what is kept of each form, however it is held.
        pub enum Form<H: Hold> {
            $($(#[$doc])* $form(H::Of<$kept>),)*
            $($(#[$headed_doc])* $headed(H::Headed<$headed_kept>),)*
        }

        $(const _: () = assert!($code < HEADER);)*
        $(const _: () = assert!($headed_code >= HEADER);)*

        $(impl HasHeader for $headed_kept {
            const CODE: u8 = $headed_code;
        })*

        impl<H: Hold> Form<H> {
            /// The form's code.
            pub fn code(&self) -> u8 {
                match self {
                    $(Form::$form(_) => $code,)*
                    $(Form::$headed(_) => $headed_code,)*
                }
            }

            /// Itself, to look at.
            #[inline(always)]
            pub fn by_ref(&self) -> LimiterRef<'_> {
                match self {
                    $(Form::$form(state) => Form::$form(&**state),)*
                    $(Form::$headed(state) => Form::$headed(&**state),)*
                }
            }

            /// A copy that owns what it has.
            pub fn to_limiter(&self) -> Limiter {
                match self {
                    $(Form::$form(state) => Form::$form(Box::new(<$kept>::clone(state))),)*
                    $(Form::$headed(state) => Form::$headed(<$headed_kept>::clone(state).into()),)*
                }
            }
        }

        impl Limiter {
            /// Itself, to change.
            pub fn held(&mut self) -> LimiterMut<'_> {
                match self {
                    $(Form::$form(state) => Form::$form(&mut **state),)*
                    $(Form::$headed(state) => Form::$headed(&mut **state),)*
                }
            }

            /// Shows its own box.
            pub(super) fn visit_box(&mut self, visitor: &mut impl Allocations) {
                match self {
                    $(Form::$form(state) => visitor.visit_box(state),)*
                    $(Form::$headed(state) => visitor.visit_box(&mut state.0),)*
                }
            }
        }

        impl LimiterMut<'_> {
            /// Itself, to change, for a shorter time.
            pub fn held(&mut self) -> LimiterMut<'_> {
                match self {
                    $(Form::$form(state) => Form::$form(&mut **state),)*
                    $(Form::$headed(state) => Form::$headed(&mut **state),)*
                }
            }
        }

        impl<H: Hold> Debug for Form<H> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $(Form::$form(state) => f.debug_tuple(stringify!($form)).field(&**state).finish(),)*
                    $(Form::$headed(state) => f.debug_tuple(stringify!($headed)).field(&**state).finish(),)*
                }
            }
        }

        impl<H: Hold> PartialEq for Form<H> {
            fn eq(&self, other: &Self) -> bool {
                match (self, other) {
                    $((Form::$form(one), Form::$form(other)) => **one == **other,)*
                    $((Form::$headed(one), Form::$headed(other)) => **one == **other,)*
                    _ => false,
                }
            }
        }
    };
}
forms!(define);

impl<H: Hold> Eq for Form<H> {}

impl Clone for Limiter {
    fn clone(&self) -> Self {
        self.to_limiter()
    }
}

impl Clone for LimiterRef<'_> {
    fn clone(&self) -> Self {
        *self
    }
}

impl Copy for LimiterRef<'_> {}

/// Does the same with what is kept, whatever the form.
macro_rules! each {
    ($limiter:expr, $state:ident => $does:expr) => {
        $crate::core::limiter::form::forms! { each_form ($limiter) $state ($does) }
    };
}
pub(crate) use each;

macro_rules! each_form {
    (
        [($limiter:expr) $state:ident ($does:expr)]
        tagged { $($(#[$doc:meta])* $form:ident = $code:literal: $kept:ty,)* }
        headed { $($(#[$headed_doc:meta])* $headed:ident = $headed_code:literal: $headed_kept:ty,)* }
    ) => {
        match $limiter {
            $($crate::core::limiter::Form::$form($state) => $does,)*
            $($crate::core::limiter::Form::$headed($state) => $does,)*
        }
    };
}
pub(crate) use each_form;
