module weir.dev/pod

go 1.24
