"""The viewer: the page of `explain`, served live on this machine."""
