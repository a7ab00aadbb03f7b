//! Types that records keep as text: read by `FromStr`, written by `Display`.

/// What serde's `try_from = "String", into = "String"` asks for.
macro_rules! kept_as_text {
    ($type:ident) => {
        impl TryFrom<String> for $type {
            type Error = $crate::error::Error;
            fn try_from(text: String) -> $crate::error::Result<Self> {
                text.parse()
            }
        }

        impl From<$type> for String {
            fn from(value: $type) -> Self {
                value.to_string()
            }
        }
    };
}
pub(super) use kept_as_text;
