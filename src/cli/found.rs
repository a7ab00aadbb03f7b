//! What is wanted of a machine, on top of what comes with what it is made of.

use super::wanted::Wanted;
use crate::source::Found;

impl Wanted {
    /// Makes it of what was found. What is wanted goes before what comes along: arguments and a root file system in place of
    /// those, a variable, a label or a volume's place in the guest in place of the same one; the others are added.
    #[must_use]
    pub(crate) fn over(self, found: Found) -> Self {
        let is_wanted = |target: &str| self.volumes.iter().any(|volume| volume.target == target);
        let theirs: Vec<_> = found.volumes.into_iter().filter(|volume| !is_wanted(&volume.target)).collect();
        let arguments = if self.app_args.is_empty() { found.command } else { self.app_args };
        Self {
            kernel: found.kernel,
            kernel_args: found.kernel_args.into_iter().chain(self.kernel_args).collect(),
            app_args: found.entrypoint.into_iter().chain(arguments).collect(),
            arch: self.arch.or(found.arch),
            env: found.env.into_iter().chain(self.env).collect(),
            rootfs: self.rootfs.or(found.rootfs),
            volumes: theirs.into_iter().chain(self.volumes).collect(),
            labels: found.labels.into_iter().chain(self.labels).collect(),
            image: self.image.or(found.image),
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::As;

    #[test]
    fn what_is_wanted_goes_first() {
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        let found = Found {
            kernel_args: vec!["theirs".into()],
            rootfs: Some("theirs".into()),
            command: vec!["theirs".into()],
            env: [pair("A", "theirs"), pair("B", "theirs")].into(),
            labels: [pair("a", "theirs")].into(),
            volumes: ["/t:/a", "/t:/b"].map(|text| text.parse().unwrap()).into(),
            ..Found::new(As::Project, "k".into())
        };
        let bare = Wanted::new("".into()).over(found.clone());
        assert_eq!((bare.kernel.to_str(), bare.rootfs.as_deref()), (Some("k"), Some("theirs".as_ref())));
        assert_eq!((bare.app_args, bare.kernel_args), (vec!["theirs".to_owned()], vec!["theirs".to_owned()]));
        let wanted = Wanted {
            kernel_args: vec!["ours".into()],
            rootfs: Some("ours".into()),
            app_args: vec!["ours".into()],
            env: [pair("A", "ours")].into(),
            labels: [pair("b", "ours")].into(),
            volumes: vec!["/o:/b".parse().unwrap()],
            ..Wanted::new("".into())
        };
        let both = wanted.over(found);
        assert_eq!((both.rootfs.as_deref(), both.app_args), (Some("ours".as_ref()), vec!["ours".to_owned()]));
        assert_eq!(both.kernel_args, ["theirs", "ours"]);
        assert_eq!(both.env, [pair("A", "ours"), pair("B", "theirs")].into());
        assert_eq!(both.labels, [pair("a", "theirs"), pair("b", "ours")].into());
        let volumes: Vec<String> = both.volumes.iter().map(ToString::to_string).collect();
        assert_eq!(volumes, ["/t:/a", "/o:/b"]);
    }
}
