//! What a generation makes its pictures of.

/// A kind of generation, named as diffusers' pipelines are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    /// Pictures of a prompt alone.
    TextToImage,
    /// Pictures of a prompt and a picture, which is drawn anew as a whole.
    ImageToImage,
    /// Pictures of a prompt, a picture and a mask that says which part of it is drawn anew.
    Inpaint,
}

impl Task {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::TextToImage, Self::ImageToImage, Self::Inpaint];

    /// The lower-case name used on every interface.
    pub fn name(self) -> &'static str {
        match self {
            Self::TextToImage => "text-to-image",
            Self::ImageToImage => "image-to-image",
            Self::Inpaint => "inpaint",
        }
    }
}
