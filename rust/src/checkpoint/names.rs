//! What a file calls its tensors, beside the names that the models ask for, which are diffusers' and transformers'.

/// Parts of names that differ inside a module: as stored, and as the model asks.
pub(super) type Layers = &'static [(&'static str, &'static str)];

struct Module {
    stored: String,
    canonical: String,
    layers: Layers,
}

/// The names of one component's tensors in a file of another layout, in both directions.
#[derive(Default)]
pub(super) struct Names {
    prefix: String,
    modules: Vec<Module>,
    left_out: Vec<String>,
    transposed: Option<&'static str>,
}

/// What a stored tensor is to the model.
pub(super) enum Canonical {
    /// Nothing: it rides along in published files.
    LeftOut,
    /// Not known.
    Unknown,
    /// One tensor, stored as it is or with rows and columns exchanged.
    Whole { name: String, transposed: bool },
    /// Several, one below the other.
    Parts(Vec<String>),
}

impl Names {
    /// Names that all begin with `prefix` in the file, and without it in the model.
    pub fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_string(), ..Self::default() }
    }

    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Adds a module: what is below `stored` in the file is below `canonical` in the model.
    ///
    /// Where `layers` has one stored name several times, that tensor holds all of its canonical ones, in this order.
    pub fn module(&mut self, stored: impl Into<String>, canonical: impl Into<String>, layers: Layers) {
        self.modules.push(Module { stored: stored.into(), canonical: canonical.into(), layers });
    }

    /// Leaves out what is below `stored`.
    pub fn leave_out(&mut self, stored: impl Into<String>) {
        self.left_out.push(stored.into());
    }

    /// Marks the canonical tensor `name` as stored with its rows as columns.
    pub fn transpose(&mut self, name: &'static str) {
        self.transposed = Some(name);
    }

    /// What the model calls the tensor that the file calls `stored`.
    pub fn canonical(&self, stored: &str) -> Canonical {
        let Some(name) = stored.strip_prefix(&self.prefix) else { return Canonical::Unknown };
        if self.left_out.iter().any(|module| below(name, module).is_some()) {
            return Canonical::LeftOut;
        }
        let Some((module, rest)) = self.modules.iter().find_map(|module| Some((module, below(name, &module.stored)?)))
        else {
            return Canonical::Unknown;
        };
        let mut names: Vec<_> = module
            .layers
            .iter()
            .filter_map(|(stored, canonical)| Some(format!("{}.{canonical}{}", module.canonical, layer(rest, stored)?)))
            .collect();
        match names.len() {
            0 => self.whole(format!("{}{rest}", module.canonical)),
            1 => self.whole(names.remove(0)),
            _ => Canonical::Parts(names),
        }
    }

    fn whole(&self, name: String) -> Canonical {
        Canonical::Whole { transposed: self.transposed == Some(name.as_str()), name }
    }

    /// What the file calls the tensor that the model calls `canonical`.
    pub fn stored(&self, canonical: &str) -> Option<String> {
        let (module, rest) =
            self.modules.iter().find_map(|module| Some((module, below(canonical, &module.canonical)?)))?;
        let mut layers = module.layers.iter();
        let inside = layers.find_map(|(stored, canonical)| Some(format!(".{stored}{}", layer(rest, canonical)?)));
        Some(format!("{}{}{}", self.prefix, module.stored, inside.unwrap_or_else(|| rest.to_string())))
    }
}

/// What follows the module in `name`: nothing, or a dot and more.
fn below<'a>(name: &'a str, module: &str) -> Option<&'a str> {
    name.strip_prefix(module).filter(|rest| rest.is_empty() || rest.starts_with('.'))
}

fn layer<'a>(rest: &'a str, layer: &str) -> Option<&'a str> {
    below(rest.strip_prefix('.')?, layer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Names {
        let mut names = Names::new("net.");
        names.module("in.0", "conv_in", &[]);
        names.module("in.1", "down", &[("a.0", "norm"), ("qkv", "q"), ("qkv", "k"), ("qkv", "v")]);
        names.module("projection", "projection.weight", &[]);
        names.transpose("projection.weight");
        names.leave_out("scale");
        names
    }

    fn whole(stored: &str) -> Option<(String, bool)> {
        match names().canonical(stored) {
            Canonical::Whole { name, transposed } => Some((name, transposed)),
            _ => None,
        }
    }

    #[test]
    fn names_go_both_ways() {
        for (stored, canonical) in [
            ("net.in.0.weight", "conv_in.weight"),
            ("net.in.1.a.0.bias", "down.norm.bias"),
            ("net.in.1.other", "down.other"),
            ("net.projection", "projection.weight"),
        ] {
            assert_eq!(whole(stored), Some((canonical.into(), canonical.starts_with("projection"))), "{stored}");
            assert_eq!(names().stored(canonical).as_deref(), Some(stored));
        }
    }

    #[test]
    fn a_module_ends_where_its_name_does() {
        for stored in ["net.in.01", "net.in", "in.0", "net.", ""] {
            assert!(matches!(names().canonical(stored), Canonical::Unknown), "{stored}");
        }
        assert_eq!(whole("net.in.1.a.01"), Some(("down.a.01".into(), false)));
        assert_eq!(names().stored("conv_into"), None);
    }

    #[test]
    fn one_tensor_may_be_several_or_none() {
        assert!(
            matches!(names().canonical("net.in.1.qkv"), Canonical::Parts(parts) if parts == ["down.q", "down.k", "down.v"])
        );
        assert_eq!(names().stored("down.v").as_deref(), Some("net.in.1.qkv"));
        assert!(matches!(names().canonical("net.scale"), Canonical::LeftOut));
    }
}
