package tunnel

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"strconv"
	"strings"
)

// MaxName is the longest name: one label of a host name.
const MaxName = 63

// reservedNames are the edge's own hosts, and those that people would take for
// them.
var reservedNames = map[string]bool{
	"abuse": true, "account": true, "accounts": true, "acme": true, "admin": true,
	"administrator": true, "api": true, "auth": true, "autoconfig": true,
	"autodiscover": true, "control": true, "dashboard": true, "dns": true, "edge": true,
	"ftp": true, "health": true, "help": true, "hostmaster": true, "imap": true,
	"internal": true, "localhost": true, "login": true, "logout": true, "lrok": true,
	"mail": true, "metrics": true, "mx": true, "ns": true, "ns1": true, "ns2": true,
	"oauth": true, "pop": true, "postmaster": true, "root": true, "security": true,
	"signin": true, "signup": true, "smtp": true, "ssh": true, "sso": true, "status": true,
	"support": true, "system": true, "tcp": true, "tls": true, "tunnel": true,
	"tunnels": true, "webmail": true, "webmaster": true, "wpad": true, "www": true,
}

// ValidName reports whether a tunnel may have that name: one label of lower
// case letters, digits and inner hyphens that is not reserved. Labels with
// hyphens in the third and fourth place belong to IDNA.
func ValidName(name string) bool { return CheckName(name) == nil }

// ReservedName reports whether the name is one that no tunnel may have although it
// is spelled as they are.
func ReservedName(name string) bool { return reservedNames[name] }

// CheckName returns an *Error that says what is wrong with a name, or nil.
func CheckName(name string) error {
	switch {
	case name == "":
		return badName("a name cannot be empty", "")
	case len(name) > MaxName:
		return badName("the name is longer than 63 characters", "choose a shorter one")
	case reservedNames[name]:
		return badName(strconv.Quote(name)+" is reserved", "choose another name, such as my-"+name)
	case name[0] == '-' || name[len(name)-1] == '-':
		return badName("a name cannot begin or end with a hyphen", "")
	case len(name) > 3 && name[2:4] == "--":
		return badName("a name cannot have hyphens in its third and fourth place", "")
	}
	for _, c := range []byte(name) {
		if ('a' > c || c > 'z') && ('0' > c || c > '9') && c != '-' {
			return badName(
				strconv.Quote(name)+" is no name for a tunnel",
				"names have the characters a to z, 0 to 9 and the hyphen")
		}
	}
	return nil
}

func badName(message, hint string) error {
	return &Error{Code: CodeNameInvalid, Message: message, Hint: hint}
}

// DefaultName is the name of a tunnel that asked for none: the same for the
// same user and project. When it is taken, attempts 1, 2, ... add digits, which
// are the same each time as well.
func DefaultName(user, project string, attempt int) string {
	mac := hmac.New(sha256.New, []byte(user))
	mac.Write([]byte(project))
	sum := mac.Sum(nil)
	pair := binary.BigEndian.Uint64(sum) % uint64(len(adjectives)*len(animals))
	name := adjectives[pair/uint64(len(animals))] + "-" + animals[pair%uint64(len(animals))]
	if attempt <= 0 {
		return name
	}
	mac.Reset()
	mac.Write(binary.BigEndian.AppendUint64(sum, uint64(attempt)))
	digits := binary.BigEndian.Uint64(mac.Sum(nil)) % 9000
	return name + "-" + strconv.FormatUint(1000+digits, 10)
}

// Words that nobody minds in a URL they send to a customer.
var (
	adjectives = strings.Fields(`
able agile airy amber ample apt arctic autumn azure balmy beaming bold brave breezy
bright brisk bronze calm candid careful cheery chilly citrus civil clear clever
cobalt cordial cosmic cozy crimson crisp curious dapper daring dawn deft dewy
distant dotted eager early earnest ebony elegant emerald even fabled fair famous
fancy fearless festive fine fleet floral fluent fond forest frank fresh frosty
gallant gentle gifted glad gleaming glossy golden grand grateful handy happy hardy
hazel hearty helpful honest humble indigo ivory jade jolly jovial joyful keen kind
lasting leafy light lilac lively logical loyal lucid lucky lunar maple marble mellow
merry mighty mild minty misty modest nimble noble northern olive orderly patient
pearly placid plucky polar polite proud quick quiet rapid rosy rustic sandy scarlet
serene shiny silent silver smooth snowy solar spry stellar sturdy sunny sleek tidy
timely tranquil trusty upbeat valiant velvet verdant vivid warm wondrous winter wise
witty young zesty`)
	animals = strings.Fields(`
albatross alpaca antelope armadillo avocet badger barbet bullfinch bison bittern
bobcat bonobo bunting camel capybara caracal cardinal caribou cassowary chameleon
cheetah chinchilla chipmunk cicada condor coral corgi cormorant caiman coyote crane
cricket curlew dingo dolphin dormouse dove dragonfly duckling dunlin eagle egret eider
falcon ferret finch firefly flamingo fox gannet gazelle gecko gerbil gibbon giraffe
goldfinch gopher goshawk grebe grouse guppy hamster hare harrier hedgehog heron
hornbill hummingbird ibex ibis iguana impala jackdaw jaguar jerboa kestrel
kingfisher kiwi koala kudu ladybird lapwing lark lemming lemur leopard linnet lizard
llama lobster lynx macaw magpie mallard manatee marmot marten meerkat merlin mongoose
moose narwhal newt nightjar ocelot octopus okapi oriole osprey otter owl oyster panda
pangolin panther parrot partridge pelican penguin petrel pheasant pigeon pika piper
plover pony porpoise puffin puma quail quokka rabbit raccoon raven redwing reindeer
robin salmon sandpiper seahorse seal serval shrike siskin skylark sparrow squirrel
starling stoat stork swallow swan swift tamarin tanager tapir tern thrush tiger
toucan trout turtle vicuna vole wagtail walrus warbler waxwing weasel wallaby whimbrel
wombat wolverine wren yak zebra`)
)
