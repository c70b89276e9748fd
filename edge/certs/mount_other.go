//go:build !linux

package certs

import "errors"

func mountTable() ([]byte, error) { return nil, errors.ErrUnsupported }
