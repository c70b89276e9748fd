module github.com/lrok-dev/lrok/bench

go 1.26.0
