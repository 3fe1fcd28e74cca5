# Tests that SyTest would not run here: those that require an ability of which the proof has left SyTest
# or asks for more than the ability, and those that name other servers although what they try is here too.
package SyTest::Meridian::Tests;

use strict;
use warnings;

# What may be tried once a test has passed. Whoever requires these abilities uses them, and fails where
# they are absent.
my %PROVES = (
   "GET /rooms/:room_id/state/m.room.power_levels fetches powerlevels" => [qw( can_change_power_levels )],
   "PUT /rooms/:room_id/send/:event_type/:txn_id sends a message" => [qw( can_get_messages )],
);

# Of other servers by name, and as true of this one.
my $ALSO_HERE = qr{^POST /_synapse/admin/v1/register|^Server discards events with invalid JSON};

# If this names a file, which file each test is of is written there.
my $FILES = $ENV{MERIDIAN_TEST_FILES};

{
   my $push_test = \&main::_push_test;
   no warnings 'redefine';
   *main::_push_test = sub {
      my ( $filename, $multi, $name, %params ) = @_;
      if( my $more = $PROVES{$name} ) {
         $params{proves} = [ @{ $params{proves} // [] }, @$more ];
      }
      if( defined $FILES ) {
         open( my $list, ">>:utf8", $FILES ) or die "Cannot write $FILES: $!\n";
         print $list "$filename\t$name\n";
      }
      delete $params{implementation_specific} if $name =~ $ALSO_HERE;
      return $push_test->( $filename, $multi, $name, %params );
   };
}

1;
