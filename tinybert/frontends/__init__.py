"""The models under the calling conventions of other frameworks; nothing of them is needed."""
